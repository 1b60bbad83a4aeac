"""The processes of one app, started and stopped in order: what ``flask jobs up`` stands on.

``honcho`` reads and prefixes what the processes write; here is what a job system needs besides: a start in
order (broker, then the rest), a line when all of it is ready, and a stop in order, in which workers get the
grace period to finish their jobs and the broker goes last, so that what they hand back is kept. A process
runs in a session of its own: the terminal's Ctrl-C reaches only us, and whatever a process leaves behind in
its session is killed when it has ended. When we are killed, a guardian kills them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from honcho.manager import Manager
from honcho.printer import Message, Printer
from honcho.process import Popen, Process
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from ..errors import BrokerUnavailable
from ..services import Runtime
from .guardian import Guard

BROKER = "broker"
START_SECONDS = 60.0
"""How long all of it may take to become ready before it is said that something is not."""
MARGIN_SECONDS = 5.0
"""Beyond the grace period: what a process may take to close down after its last job."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stack(Manager):
    """The processes of one app: honcho's manager with our order of starting and stopping.

    The names of what is started late are in ``_waiting``. All state belongs to the thread in ``run``; others
    talk to it through ``events``.
    """

    def __init__(self, here: Runtime, url: str, hints: str, environ: Mapping[str, str]) -> None:
        super().__init__(SafePrinter(sys.stdout))
        # threads read the processes; a SimpleQueue may be put to by a signal handler as well
        self.events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._terminating = False
        self._here = here
        self._url = url
        self._hints = hints
        self._environ = dict(environ)
        self._waiting: list[str] = []
        self._stop_at: float | None = None
        self._forced = False
        self._guard = Guard()

    def add(self, name: str, command: Sequence[str]) -> None:
        """Add a process; it starts with ``run``."""
        self._process_ctor = Child
        self.add_process(name, list(command), env=self._environ)
        self._waiting.append(name)

    def run(self) -> int:
        """Start, print and wait until all have ended; gives the exit code."""

        def signalled(number: int, _frame: object) -> None:
            self._tell("signal", signal.Signals(number).name)

        before = {number: signal.signal(number, signalled) for number in _STOP_SIGNALS}
        try:
            first = [name for name in self._waiting if name == BROKER] or list(self._waiting)
            self._launch(first)
            self._watch(self._prepare if self._waiting else self._await_ready)
            while self._running() or (self._waiting and not self._terminating):
                self._next_event()
        finally:
            self._kill_all(
                "we ended in the middle of something"
            )  # nothing runs by now, but for our own errors
            self._guard.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._forced:
            return 1
        return self.returncode or 0

    # starting
    def _launch(self, names: Sequence[str]) -> None:
        for name in names:
            self._waiting.remove(name)
            entry = self._processes[name]
            try:
                entry["obj"].start()
            except OSError as exc:
                self._say(f"{name} cannot be started: {exc}")
                self.returncode = 127  # the shell's word for it
                self.terminate()
                return
            entry["pid"] = entry["obj"].pid
            self._guard.started(entry["pid"], gently=name == BROKER)
            threading.Thread(target=entry["obj"].read, args=(self.events,), daemon=True).start()

    def _watch(self, check: Callable[[], None]) -> None:
        threading.Thread(target=check, daemon=True).start()

    def _prepare(self) -> None:
        """In a thread: the rest starts when the broker answers, so that nobody's log opens with an error."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                self._here.broker.health(1.0)
                break
            except BrokerUnavailable:
                time.sleep(0.05)
        self._tell("prepared")

    def _await_ready(self) -> None:
        """In a thread: asks the web app until all parts are ready."""
        prefix = self._here.settings.url_prefix
        deadline = time.monotonic() + START_SECONDS
        while True:
            ready, said = _ask(f"{self._url}{prefix}/health/ready")
            if ready or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        self._tell("ready" if ready else "not ready", said)

    def _tell(self, kind: str, data: str = "") -> None:
        self.events.put(Message(type=kind, data=data, time=self._clock.now(), name=None, colour=None))

    # the loop
    def _next_event(self) -> None:
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            self._kill_all(f"still running {self._grace():.0f} s after the stop began")
        try:
            event = self.events.get(timeout=0.1)
        except queue.Empty:
            return
        if event.type == "line":
            self._printer.write(event)
        elif event.type == "stop":
            self._ended(event)
        elif event.type == "signal":
            self._asked_to_stop(event.data)
        elif event.type == "prepared" and not self._terminating:
            self._launch(list(self._waiting))
            self._watch(self._await_ready)
        elif event.type == "ready" and not self._terminating:
            self._show_hints()
        elif event.type == "not ready" and not self._terminating:
            self._say(f"not everything is ready after {START_SECONDS:.0f} s: {event.data}")

    def _ended(self, event: Message) -> None:
        code = event.data["returncode"]
        entry = self._processes[event.name]
        entry["returncode"] = code
        _kill_group(entry["pid"])
        self._guard.ended(entry["pid"])
        if self._terminating:
            self._say(f"{event.name} stopped")
            self._stop_broker_last()
            return
        self.returncode = 128 - code if code < 0 else code
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._say(f"{event.name} {how}: the rest is stopped too")
        self.terminate()

    # stopping
    def _asked_to_stop(self, name: str) -> None:
        if self._terminating:
            self._kill_all("asked again to stop")
            return
        self._say(f"{name}: stopping; running jobs have {self._grace():.0f} s to finish")
        self.returncode = 0
        self.terminate()

    def terminate(self) -> None:
        """Ask all but the broker to end; the broker follows when they have."""
        if self._terminating:
            return
        self._terminating = True
        self._waiting.clear()
        self._stop_at = time.monotonic() + self._grace() + MARGIN_SECONDS
        for name in self._running():
            if name != BROKER:
                self._ask_to_stop(name)
        self._stop_broker_last()

    def _stop_broker_last(self) -> None:
        if self._running() == [BROKER]:
            self._ask_to_stop(BROKER)

    def _ask_to_stop(self, name: str) -> None:
        # only the process itself: a signal to its group would kill a worker's children in mid-job
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._processes[name]["pid"], signal.SIGTERM)

    def _kill_all(self, why: str) -> None:
        for name in self._running():
            self._say(f"{name} is killed: {why}")
            self._forced = True
            _kill_group(self._processes[name]["pid"])
        self._stop_at = None

    def _running(self) -> list[str]:
        return [n for n, p in self._processes.items() if "pid" in p and "returncode" not in p]

    def _grace(self) -> float:
        return self._here.settings.stop_grace

    # telling
    def _say(self, text: str) -> None:
        self._system_print(text + "\n")

    def _show_hints(self) -> None:
        url, prefix = escape(self._url), escape(self._here.settings.url_prefix)
        lines = [
            f"The app      [bold]{url}[/]",
            f"Health       [bold]{url}{prefix}/health/ready[/]",
            f"Metrics      [bold]{url}{prefix}/metrics[/]",
            *(["", self._hints.strip()] if self._hints else []),
            "",
            "In another terminal: [bold]flask jobs stats --watch[/]. Ctrl-C here stops everything.",
        ]
        with contextlib.suppress(OSError):
            console = Console(highlight=False)
            console.print(Rule("ready", style="green"))
            console.print("\n".join(lines), soft_wrap=True)  # no frame and no breaks: lines are for pasting
            console.print(Rule(style="green"))


class Child(Process):
    """One process, run without a shell in a session of its own."""

    pid: int

    def start(self) -> None:
        """Start it; ``read`` must follow."""
        self._child = Popen(self.cmd, env=self.env, cwd=self.cwd, shell=False, stdin=subprocess.DEVNULL)
        self.pid = self._child.pid

    def read(self, events: Any) -> None:
        """Pass on what it writes until it ends, then its exit code."""
        self._events = events
        output = threading.Thread(target=self._pass_on, daemon=True)
        output.start()
        code = self._child.wait()
        output.join(1.0)  # its last words; but a grandchild may hold the output open for ever
        self._send_message({"returncode": code}, type="stop")

    def _pass_on(self) -> None:
        for line in iter(self._child.stdout.readline, b""):
            self._send_message(line)


class SafePrinter(Printer):
    """Goes on without a terminal when the terminal is closed: the processes are still to be stopped."""

    def write(self, message: Message) -> None:
        """Print a line; a broken output is replaced by none."""
        try:
            super().write(message)
        except (OSError, ValueError):
            self.output = open(os.devnull, "w")  # noqa: SIM115 - for the rest of our life


def _ask(url: str) -> tuple[bool, str]:
    """Whether ``url`` answers 200, and what it or its absence says."""
    try:
        with urllib.request.urlopen(url, timeout=3) as response:  # noqa: S310 - our own http URL
            return True, response.read().decode()
    except urllib.error.HTTPError as exc:
        return False, _short(exc.read())
    except (OSError, ValueError) as exc:
        return False, f"{url}: {exc}"


def _short(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body))
    except ValueError:
        return body[:300].decode("utf-8", "replace")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


__all__ = ["BROKER", "Stack"]
