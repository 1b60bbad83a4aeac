"""Runs the whole shop, as ``flask --app examples/shop up`` does, with its own folder and ports.

The demo and the tests start it, send requests, read its log and stop it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import commands

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_OURS = ("SHOP_", "NIGHTSHIFT_", "SQLALCHEMY_", "FLASK_", "PORT")
_LOG_LINE = re.compile(r"\| (\{.*\})$", re.MULTILINE)


class Stage:
    """The running shop. The folder ``home``, and so the queued jobs, survive a stop.

    It does not inherit your ``SHOP_*``, ``NIGHTSHIFT_*`` and similar variables; it gets only those in ``environ``.
    """

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        self.log = home / "up.log"
        self.port = free_port()
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(_OURS)},
            "PORT": str(self.port),
            "SHOP_INSTANCE": str(home),
            "NIGHTSHIFT_LOG_FORMAT": "json",
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The shop's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mailbox(self) -> str:
        """The mailbox's URL."""
        return f"http://127.0.0.1:{self.port + commands.MAILBOX}"

    @property
    def partner(self) -> str:
        """The partner's URL."""
        return f"http://127.0.0.1:{self.port + commands.PARTNER}"

    def start(self) -> None:
        """Start everything; returns when the shop reports that it is ready, else raises ``RuntimeError``."""
        said = len(self.text())
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("up"),
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        ended = self.process.poll
        wait_for(lambda: "─ ready ─" in self.text()[said:] or ended() is not None, START_SECONDS)
        if "─ ready ─" not in self.text()[said:]:
            raise RuntimeError(f"The shop did not start (exit code {ended()}):\n{self.text()[said:][-4000:]}")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send it the signal ``number`` and wait for its end; returns the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def command(self, *words: str) -> list[str]:
        """The command line of ``flask --app examples/shop WORDS``."""
        return [sys.executable, "-m", "flask", "--app", str(commands.PACKAGE), *words]

    def flask(self, *words: str) -> str:
        """Run ``flask --app examples/shop WORDS``; returns its output, raises ``RuntimeError`` if it fails."""
        done = subprocess.run(
            self.command(*words), env=self.environ, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"flask {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def request(self, url: str, body: Any = None) -> Any:
        """GET, or POST ``body`` as JSON; returns the JSON of the answer, whatever its status."""
        request = urllib.request.Request(  # noqa: S310 - our own servers
            url if "://" in url else self.url + url,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
                text = response.read()
        except urllib.error.HTTPError as exc:
            text = exc.read()
        return json.loads(text)

    def enqueue(self, path: str, body: Any) -> str:
        """POST ``body``; returns the id of its job."""
        return str(self.request(path, body)["job"]["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job's record, as JSON."""
        return dict(self.request(f"/jobs/{job_id}"))

    def wait_for_state(self, job_id: str, state: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the job is in ``state``; returns it. Raises ``TimeoutError``, which shows the job's record."""
        try:
            wait_for(lambda: self.job(job_id)["state"] == state, seconds)
        except TimeoutError:
            raise TimeoutError(f"after {seconds:g} s the job is not {state}: {self.job(job_id)}") from None
        return self.job(job_id)

    def mails(self) -> list[dict[str, Any]]:
        """The mails in the mailbox, newest first."""
        return list(self.request(f"{self.mailbox}/api/v1/messages")["messages"])

    def calls(self, key: str) -> list[dict[str, Any]]:
        """The calls to the partner with that ``Idempotency-Key``, oldest first."""
        return [call for call in self.request(f"{self.partner}/received") if call["key"] == key]

    def events(self, name: str, job_id: str) -> list[dict[str, Any]]:
        """The log lines of a job with the event ``name``, oldest first."""
        lines = [json.loads(line) for line in _LOG_LINE.findall(self.text()) if job_id in line]
        return [line for line in lines if line["event"] == name]

    def text(self) -> str:
        """The output of all processes so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def free_port() -> int:
    """A free port for the shop; the helpers' ports are free as well."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if all(_is_free(port + offset) for offset in (commands.MAILBOX, commands.SMTP, commands.PARTNER)):
            return port
    raise RuntimeError("there are no free ports")


def wait_for(check: Callable[[], Any], seconds: float) -> None:
    """Call ``check`` until its result is true; raises ``TimeoutError`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.1)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
