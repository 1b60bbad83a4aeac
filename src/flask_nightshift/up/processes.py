"""The processes of one app, which ``flask jobs up`` starts and stops in order.

The broker starts first, and the others when it answers. A block of text appears when everything is ready. At a stop,
workers get the grace period to finish their jobs. The broker stops last, so that it receives the jobs that workers
return. Each process has its own session: Ctrl-C in the terminal reaches only ``flask jobs up``, which also kills
whatever a process leaves behind. If ``flask jobs up`` itself is killed, a guardian kills the processes.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule

from ..services import Services
from ..web.dashboard.alone import link_to
from .child import Child, Ended, Output
from .guardian import GuardianClient
from .printer import OURSELVES, Printer
from .readiness import START_SECONDS, await_broker, await_ready

BROKER = "broker"
MARGIN_SECONDS = 5.0
"""Seconds after the grace period in which a process must end."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Signalled:
    """``flask jobs up`` received the stop signal ``name``."""

    name: str


@dataclass(frozen=True, slots=True)
class BrokerAnswers:
    """The broker answered, or did not within ``START_SECONDS``."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether everything is ready, and the last answer of the health page."""

    ready: bool
    said: str


Event = Output | Ended | Signalled | BrokerAnswers | Readiness


class Processes:
    """The processes of one app, and the loop that watches them.

    ``_waiting`` contains the names of processes that have not started. Only the thread in ``run`` changes the state;
    other threads and signal handlers put events into ``_events``.
    """

    def __init__(self, here: Services, url: str, hints: str, environ: Mapping[str, str]) -> None:
        # a SimpleQueue, because a signal handler may put an event while the same thread holds a Queue's lock
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._printer = Printer(sys.stdout)
        self._guard = GuardianClient()
        self._here = here
        self._url = url
        self._hints = hints
        self._environ = dict(environ)
        self._children: dict[str, Child] = {}
        self._waiting: list[str] = []
        self._code = 0
        self._stopping = False
        self._stop_at: float | None = None
        self._forced = False

    def add(self, name: str, command: Sequence[str]) -> None:
        """Add a process, which ``run`` starts."""
        self._children[name] = Child(name, command, self._environ)
        self._printer.add(name)
        self._waiting.append(name)

    def run(self) -> int:
        """Start the processes, print their output and wait until all have ended; returns the exit code."""

        def signalled(number: int, _frame: object) -> None:
            self._events.put(Signalled(signal.Signals(number).name))

        before = {number: signal.signal(number, signalled) for number in _STOP_SIGNALS}
        try:
            first = [name for name in self._waiting if name == BROKER] or list(self._waiting)
            self._start(first)
            self._watch(self._await_broker if self._waiting else self._await_ready)
            while self._running() or (self._waiting and not self._stopping):
                self._next_event()
        finally:
            self._kill_all("`flask jobs up` failed")  # nothing runs by now, but for our own errors
            self._guard.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        return 1 if self._forced else self._code

    # starting
    def _start(self, names: Sequence[str]) -> None:
        for name in names:
            self._waiting.remove(name)
            child = self._children[name]
            try:
                child.start(self._events.put)
            except OSError as exc:
                self._say(f"{name} cannot be started: {exc}")
                self._stop(127)  # the shell's exit code for "command not found"
                return
            self._guard.started(child.pid, gently=name == BROKER)

    def _watch(self, check: Callable[[], None]) -> None:
        threading.Thread(target=check, daemon=True).start()

    def _await_broker(self) -> None:
        """In a thread: wait for the broker, so that no other process begins with a connection error."""
        await_broker(self._here.broker)
        self._events.put(BrokerAnswers())

    def _await_ready(self) -> None:
        """In a thread: ask the web app's health page until everything is ready."""
        ready, said = await_ready(f"{self._url}{self._here.settings.url_prefix}/health/ready")
        self._events.put(Readiness(ready, said))

    # the loop
    def _next_event(self) -> None:
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            self._kill_all(f"still running {self._grace():.0f} s after the stop began")
        try:
            event = self._events.get(timeout=0.1)
        except queue.Empty:
            return
        match event:
            case Output():
                self._printer.write(event.name, event.text.decode("utf-8", "replace"), event.at)
            case Ended():
                self._ended(self._children[event.name], event.code)
            case Signalled():
                self._asked_to_stop(event.name)
            case BrokerAnswers() if not self._stopping:
                self._start(list(self._waiting))
                self._watch(self._await_ready)
            case Readiness(ready=True) if not self._stopping:
                self._show_hints()
            case Readiness() if not self._stopping:
                self._say(f"not everything is ready after {START_SECONDS:.0f} s: {event.said}")

    def _ended(self, child: Child, code: int) -> None:
        child.code = code
        child.kill()  # the rest of its process group
        self._guard.ended(child.pid)
        if self._stopping:
            self._say(f"{child.name} stopped")
            self._stop_broker_last()
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._say(f"{child.name} {how}: the rest is stopped too")
        self._stop(128 - code if code < 0 else code)

    # stopping
    def _asked_to_stop(self, name: str) -> None:
        if self._stopping:
            self._kill_all("asked again to stop")
            return
        self._say(f"{name}: stopping; running jobs have {self._grace():.0f} s to finish")
        self._stop(0)

    def _stop(self, code: int) -> None:
        """Stop all processes, the broker last; ``code`` becomes the exit code of ``flask jobs up``."""
        if self._stopping:
            return
        self._code = code
        self._stopping = True
        self._waiting.clear()
        self._stop_at = time.monotonic() + self._grace() + MARGIN_SECONDS
        for child in self._running():
            if child.name != BROKER:
                child.ask_to_stop()
        self._stop_broker_last()

    def _stop_broker_last(self) -> None:
        running = self._running()
        if [child.name for child in running] == [BROKER]:
            running[0].ask_to_stop()

    def _kill_all(self, why: str) -> None:
        for child in self._running():
            self._say(f"{child.name} is killed: {why}")
            self._forced = True
            child.kill()
        self._stop_at = None

    def _running(self) -> list[Child]:
        return [child for child in self._children.values() if child.runs]

    def _grace(self) -> float:
        return self._here.settings.stop_grace

    # printing
    def _say(self, text: str) -> None:
        self._printer.write(OURSELVES, text, time.time())

    def _show_hints(self) -> None:
        url, prefix = escape(self._url), escape(self._here.settings.url_prefix)
        link = link_to(self._here, self._url, self._environ)
        lines = [
            f"The app      [bold]{url}[/]",
            f"Health       [bold]{url}{prefix}/health/ready[/]",
            f"Metrics      [bold]{url}{prefix}/metrics[/]",
            *([f"Dashboard    [bold]{escape(link)}[/] (opens once)"] if link else []),
            *(["", self._hints.strip()] if self._hints else []),
            "",
            "In another terminal: [bold]flask jobs stats --watch[/]. Ctrl-C here stops everything.",
        ]
        with contextlib.suppress(OSError):
            console = Console(highlight=False)
            console.print(Rule("ready", style="green"))
            console.print("\n".join(lines), soft_wrap=True)  # no frame and no breaks: lines are for pasting
            console.print(Rule(style="green"))


__all__ = ["BROKER", "Processes"]
