"""One process of an app: runs it in its own session, and turns its output and its end into events."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, cast


@dataclass(frozen=True, slots=True)
class Output:
    """The process ``name`` wrote the line ``text`` (with its line end) at ``at``, in seconds since the epoch."""

    name: str
    text: bytes
    at: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Ended:
    """The process ``name`` ended; a negative ``code`` is the signal that killed it."""

    name: str
    code: int


class Child:
    """One process, run without a shell. ``pid`` is 0 before its start; ``code`` is None until its end is recorded."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.pid = 0
        self.code: int | None = None
        self._command = list(command)
        self._environ = environ

    @property
    def runs(self) -> bool:
        """Whether the process has started and its end is not recorded yet."""
        return self.pid != 0 and self.code is None

    def start(self, tell: Callable[[Output | Ended], None]) -> None:
        """Start the process, and a thread that calls ``tell`` for each line and for its end; raises ``OSError``."""
        process = subprocess.Popen(  # noqa: S603 - a command of ours, or one that the app's author gave
            self._command,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = process.pid
        threading.Thread(target=self._follow, args=(process, tell), daemon=True).start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the process alone; a signal to its group would also stop a worker's children during a job."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole process group that it leads (SIGKILL)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _follow(self, process: subprocess.Popen[bytes], tell: Callable[[Output | Ended], None]) -> None:
        output = threading.Thread(target=self._read, args=(process.stdout, tell), daemon=True)
        output.start()
        code = process.wait()
        output.join(1.0)  # read the rest of the output; a grandchild may keep it open for ever
        tell(Ended(self.name, code))

    def _read(self, output: IO[bytes] | None, tell: Callable[[Output | Ended], None]) -> None:
        for line in cast("IO[bytes]", output):
            tell(Output(self.name, line))


__all__ = ["Child", "Ended", "Output"]
