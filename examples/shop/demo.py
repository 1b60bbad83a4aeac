"""``make demo``: a tour that nobody has to type for. It starts a stack of its own and tells what happens.

Every chapter waits for the thing itself (a mail in the mailbox, a call at the partner's door), so the tour
ends well if and only if all of it happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

PACKAGE = Path(__file__).parent
POLICY = {"retry_backoff": 1, "retry_backoff_max": 8, "retry_jitter": False, "max_retries": 3}
"""Waits of 1, 2 and 4 seconds, so that the tour is short; the product's own default is slower and has jitter."""
PATIENCE = 40.0
"""Seconds that any one thing may take."""

console = Console(highlight=False, soft_wrap=True)


class NotSeen(Exception):
    """Something that the tour promises did not happen."""


def tell() -> int:
    """Tell the story; 0 if all of it happened, else 1."""
    with tempfile.TemporaryDirectory(prefix="nightshift-demo-") as folder:
        stage = Stage(Path(folder))
        try:
            chapter("Lights on", "A broker, a web app, a worker, Beat, a mailbox and a moody partner start.")
            with stage.running():
                tour(stage)
        except NotSeen as exc:
            console.print(f"\n[bold red]This should not have happened:[/] {exc}")
            console.print(f"[dim]{stage.last_words()}[/]")
            return 1
    console.print("\n[bold green]Everything happened as told.[/] Now it is your turn: [bold]make up[/]\n")
    return 0


def tour(stage: Stage) -> None:
    """The chapters."""
    welcome(stage)
    flaky(stage)
    hopeless(stage)


def welcome(stage: Stage) -> None:
    """A sign-up answers at once; the mail follows."""
    chapter("Ada signs up", "Mail is slow, so the web app only enqueues a job and answers.")
    began = time.monotonic()
    job = stage.post("/signup", {"name": "Ada", "email": "ada@example.org"})
    say(f"202 after {1000 * (time.monotonic() - began):.0f} ms: job [cyan]{job[:8]}[/] is queued")
    mail = stage.until(stage.mails, "the mail does not arrive")[0]
    say(f"the mailbox has [green]“{mail['Subject']}”[/] for {mail['To'][0]['Address']}")
    stage.until_state(job, "succeeded")


def flaky(stage: Stage) -> None:
    """A partner that fails three times is called again, more slowly each time."""
    chapter("A flaky partner", "It answers 503 three times. Each attempt waits longer than the last.")
    job = stage.post("/hooks", {"url": f"{stage.partner}/flaky", "payload": {"order": 42}})
    stage.until_state(job, "succeeded")
    calls = [call for call in stage.calls() if call["path"] == "/flaky"]
    table = Table("attempt", "answer", "waited", box=None, padding=(0, 3), header_style="dim")
    waits = [later["at"] - earlier["at"] for earlier, later in pairwise(calls)]
    for number, (call, wait) in enumerate(zip(calls, [None, *waits], strict=True), start=1):
        status = f"[green]{call['status']}[/]" if call["status"] < 300 else f"[yellow]{call['status']}[/]"
        table.add_row(str(number), status, "" if wait is None else f"{wait:.1f} s")
    console.print(table)
    require(len(calls) == 4, f"the partner was called {len(calls)} times, not 4")
    require(len({call["key"] for call in calls}) == 1, "the Idempotency-Key changed between attempts")
    require(all(later > earlier for earlier, later in pairwise(waits)), f"the waits do not grow: {waits}")
    say("one Idempotency-Key for all four, so the partner counts one order")


def hopeless(stage: Stage) -> None:
    """A job that runs out of attempts is kept, and comes back when the cause is mended."""
    chapter("A hopeless job", "This partner answers 500 every time. After four attempts the job is buried.")
    job = stage.post("/hooks", {"url": f"{stage.partner}/broken", "payload": {"order": 43}})
    stage.until_state(job, "dead")
    letter = stage.until(
        lambda: next((one for one in stage.jobs("dead", "list", "--json") if one["job_id"] == job), None),
        "the dead letter is not archived",
    )
    say(f"dead letter [red]{letter['id'][:8]}[/] ({letter['reason']}): {letter['task']}")

    chapter("Morning", "The partner repairs its server. An operator puts the job back.")
    httpx.post(f"{stage.partner}/repair", timeout=5)
    console.print(f"   [dim]$[/] flask jobs dead replay {letter['id'][:8]}")
    stage.jobs("dead", "replay", letter["id"], text=True)
    stage.until_state(job, "succeeded")
    last = [call for call in stage.calls() if call["path"] == "/broken"][-1]
    require(last["status"] == 200, f"the last call was answered {last['status']}")
    say(f"same job [cyan]{job[:8]}[/], and the partner has order {last['payload']['order']}")


class Stage:
    """The stack of the tour, in ``folder``, with the words to talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_ports()
        self.web = f"http://127.0.0.1:{self.port}"
        self.mailbox = f"http://127.0.0.1:{self.port + 25}"
        self.partner = f"http://127.0.0.1:{self.port + 27}"
        self.log = folder / "log"
        self.environ = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("NIGHTSHIFT_", "SHOP_"))
            },
            "SHOP_INSTANCE": str(folder),
            "NIGHTSHIFT_TASK_DEFAULTS": json.dumps(POLICY),
            "PORT": str(self.port),
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything; stop everything."""
        with self.log.open("wb") as log:
            stack = subprocess.Popen(self._flask("up"), env=self.environ, stdout=log, stderr=log)
        try:
            self.until(lambda: self._ready(stack), "it does not get ready")
            say(f"ready at {self.web}")
            yield
        finally:
            stack.send_signal(signal.SIGINT)
            try:
                stack.wait(40)
            except subprocess.TimeoutExpired:
                stack.kill()

    def _ready(self, stack: subprocess.Popen[bytes]) -> bool:
        if stack.poll() is not None:
            raise NotSeen(f"the stack ended with exit code {stack.returncode}")
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.web}/health/ready", timeout=5).status_code == 200
        return False

    def _flask(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "flask", "--app", str(PACKAGE), *words]

    def jobs(self, *words: str, text: bool = False) -> Any:
        """``flask jobs …``: its JSON, or nothing."""
        done = subprocess.run(
            self._flask("jobs", *words), env=self.environ, capture_output=True, text=True, timeout=60
        )
        require(done.returncode == 0, f"flask jobs {' '.join(words)}: {done.stderr or done.stdout}")
        return None if text else json.loads(done.stdout)

    def post(self, path: str, body: dict[str, Any]) -> str:
        """POST; the id of the job."""
        answer = httpx.post(self.web + path, json=body, timeout=10)
        require(answer.status_code == 202, f"POST {path} was answered {answer.status_code}: {answer.text}")
        return str(answer.json()["job"]["id"])

    def mails(self) -> list[dict[str, Any]]:
        """What the mailbox has."""
        return list(httpx.get(f"{self.mailbox}/api/v1/messages", timeout=5).json()["messages"])

    def calls(self) -> list[dict[str, Any]]:
        """What the partner got, oldest first."""
        return list(httpx.get(f"{self.partner}/received", timeout=5).json())

    def until_state(self, job: str, state: str) -> None:
        """Wait until the job is in that state, and say what it went through."""
        seen = ""

        def arrived() -> bool:
            nonlocal seen
            now = httpx.get(f"{self.web}/jobs/{job}", timeout=5).json()
            if now["state"] != seen and now["state"] in {"retrying", "dead", "succeeded"}:
                seen = now["state"]
                colour = {"retrying": "yellow", "dead": "red", "succeeded": "green"}[seen]
                say(f"the job is [{colour}]{seen}[/]")
            return bool(now["state"] == state)

        self.until(arrived, f"job {job} is not {state}")

    def until(self, check: Callable[[], Any], what: str) -> Any:
        """Wait for ``check()`` to give something."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := check():
                return found
            time.sleep(0.1)
        raise NotSeen(f"{what} ({PATIENCE:g} s)")

    def last_words(self) -> str:
        """The end of the log, for whoever has to find out."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


def chapter(title: str, text: str) -> None:
    """Begin a chapter."""
    console.print(f"\n[bold magenta]❧ {title}[/]  [dim]{text}[/]")


def say(text: str) -> None:
    """Tell one thing."""
    console.print(f"   {text}")


def require(fact: bool, otherwise: str) -> None:
    """Raise ``NotSeen`` unless it is so."""
    if not fact:
        raise NotSeen(otherwise)


def _free_ports() -> int:
    """A port for the web app whose neighbours for the mailbox and the partner are free too."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if port > 65_000:
                continue
            with contextlib.suppress(OSError):
                for offset in (25, 26, 27):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
                return port
