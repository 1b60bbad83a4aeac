"""The example shop with all its processes, as ``make up`` starts it, in an instance folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from servers import free_port, wait_for

ROOT = Path(__file__).parent.parent
HELPERS = (0, 25, 26, 27)
"""The shop's port, the mailbox's two and the partner's, as offsets."""


class ShopStack:
    """``start()``, talk to ``url``, ``stop()``; the instance folder and so the queued jobs outlive a stop."""

    def __init__(self, home: Path | None = None, **environ: str) -> None:
        self.home = home or Path(tempfile.mkdtemp(prefix="nightshift-shop-"))
        self.log = self.home / "up.log"
        self.port = _four_ports()
        self.environ = environ
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mailbox(self) -> str:
        return f"http://127.0.0.1:{self.port + 25}"

    @property
    def partner(self) -> str:
        return f"http://127.0.0.1:{self.port + 27}"

    def launch(self, *words: str) -> subprocess.Popen[bytes]:
        """Run ``flask --app examples/shop WORDS`` in this stack's environment."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flask", "--app", "examples/shop", *words],
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> ShopStack:
        """Start it; returns when it says that it is ready."""
        said = len(self.text())
        self.process = self.launch("up")

        ended = self.process.poll

        try:
            wait_for(
                lambda: "─ ready ─" in self.text()[said:] or ended() is not None, 60, "the shop is not ready"
            )
        except TimeoutError as exc:
            raise RuntimeError(f"{exc}\n{self.text()[-4000:]}") from None
        if ended() is not None:
            raise RuntimeError(f"the shop ended with {ended()}\n{self.text()[-4000:]}")
        return self

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to stop and wait; gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        """End it, in good order or not, and whatever it left."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop(signal.SIGTERM)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for process in self.family():
            process.kill()

    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def family(self) -> list[psutil.Process]:
        """All living processes of this instance, wherever they hang: they carry its name in the environment."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("SHOP_INSTANCE") == str(self.home)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def named(self, *words: str) -> psutil.Process:
        """The first process of the family whose command line has ``words``, a parent before its children."""
        return min(
            (one for one in self.family() if set(words) <= set(one.cmdline())),
            key=lambda one: one.create_time(),
        )

    def request(self, path: str, body: Any = None, base: str | None = None) -> Any:
        """GET, or POST ``body`` as JSON; gives the JSON of the answer, whatever its status."""
        request = urllib.request.Request(
            (base or self.url) + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except urllib.error.HTTPError as exc:
            return json.load(exc)

    def enqueue(self, path: str, body: Any) -> str:
        """POST ``body``; gives the id of its job."""
        return self.request(path, body)["job"]["id"]

    def wait_for_state(self, job_id: str, state: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until the job is in ``state``; gives what ``/jobs/<id>`` then says."""
        last: dict[str, Any] = {}

        def reached() -> bool:
            last.update(self.request(f"/jobs/{job_id}"))
            return last["state"] == state

        try:
            wait_for(reached, seconds, f"job {job_id} is not {state}")
        except TimeoutError as exc:
            raise AssertionError(f"{exc}: {last}\n{self.text()[-3000:]}") from None
        return last

    def events(self, name: str, job_id: str) -> list[dict[str, Any]]:
        """The log lines ``name`` of a job, as they stand in the terminal."""
        lines = re.findall(r"\| (\{.*\})$", self.text(), re.M)
        rows = [json.loads(line) for line in lines if job_id in line]
        return [row for row in rows if row["event"] == name]

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SHOP_")}
        return {**inherited, "PORT": str(self.port), "SHOP_INSTANCE": str(self.home), **self.environ}


def _four_ports() -> int:
    """A port such that the helpers' ports are free as well."""
    for _ in range(50):
        port = free_port()
        if port < 65_000 and all(_is_free(port + offset) for offset in HELPERS):
            return port
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
