"""A small process that stops the children of ``flask jobs up`` if that is killed.

SIGKILL gives a process no chance to stop its children. The guardian reads a pipe from ``flask jobs up``. When the pipe
closes, it kills the process groups that are left. The broker comes last and gets a SIGTERM first, so it can write its
data to disk, and the next start finds its port and its lock free.

The lines in the pipe are ``+PID`` or ``+PID gently`` for a process that started, and ``-PID`` for one that ended. This
file runs as a script, so it uses only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import IO, cast

GENTLE_SECONDS = 5.0
"""Seconds between SIGTERM and SIGKILL for the broker, to write its data."""


class GuardianClient:
    """Starts the guardian (this module as a process), and reports to it which processes run."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", __file__]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
        )
        self._pipe = cast("IO[bytes]", self._process.stdin)

    def started(self, pid: int, *, gently: bool) -> None:
        """Report that ``pid`` started as a session leader; ``gently``: it gets SIGTERM before SIGKILL."""
        self._tell(f"+{pid} gently" if gently else f"+{pid}")

    def ended(self, pid: int) -> None:
        """Report that ``pid`` and its session ended."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """Close the pipe, and wait for the guardian to end."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the guardian was killed: go on without it
            self._pipe.write(f"{line}\n".encode())
            self._pipe.flush()


def watch(lines: Iterable[str]) -> dict[int, bool]:
    """Read ``lines`` to the end; returns the processes that still run, and whether to stop each gently."""
    left: dict[int, bool] = {}
    for line in lines:
        pid, _, how = line.strip()[1:].partition(" ")
        if line.startswith("+"):
            left[int(pid)] = how == "gently"
        else:
            left.pop(int(pid), None)
    return left


def end(left: dict[int, bool]) -> None:
    """Kill the sessions in ``left``; the gentle stops come last."""
    for pid in (pid for pid, gently in left.items() if not gently):
        _signal(pid, signal.SIGKILL)
    for pid in (pid for pid, gently in left.items() if gently):
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + GENTLE_SECONDS
        while _signal(pid, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    """Send a signal to the process group that ``pid`` leads; False if it no longer exists."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _lines() -> Iterator[str]:
    with contextlib.suppress(ValueError):
        yield from sys.stdin


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    end(watch(_lines()))
