"""A small process that outlives ``flask jobs up`` by a moment: it ends what that leaves behind when it is killed.

SIGKILL gives no process the chance to stop its children. This one reads a pipe whose other end dies with its parent,
and then kills their sessions, the broker last and gently, so that its data are on disk and the next start finds the
port and the broker's lock free. Its lines: ``+PID`` or ``+PID gently`` for a process that was started, ``-PID`` for
one that ended. Standard library only, and run by itself: it imports nothing of the package.
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
"""Seconds that the broker has to write its last jobs."""


class Guard:
    """Tells a process of its own (this module) what runs, so that it is ended even when we are killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", __file__]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True
        )
        self._pipe = cast("IO[bytes]", self._process.stdin)

    def started(self, pid: int, *, gently: bool) -> None:
        """``pid`` leads a session now; ``gently``: it is to be asked to end before it is killed."""
        self._tell(f"+{pid} gently" if gently else f"+{pid}")

    def ended(self, pid: int) -> None:
        """``pid`` and its session are gone."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """We end in good order."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # it was killed itself: then nothing guards us
            self._pipe.write(f"{line}\n".encode())
            self._pipe.flush()


def watch(lines: Iterable[str]) -> dict[int, bool]:
    """Read ``lines`` to their end: the processes that were left, and whether each is to be stopped gently."""
    left: dict[int, bool] = {}
    for line in lines:
        pid, _, how = line.strip()[1:].partition(" ")
        if line.startswith("+"):
            left[int(pid)] = how == "gently"
        else:
            left.pop(int(pid), None)
    return left


def end(left: dict[int, bool]) -> None:
    """Kill the sessions in ``left``; those to be stopped gently at last."""
    for pid in (pid for pid, gently in left.items() if not gently):
        _signal(pid, signal.SIGKILL)
    for pid in (pid for pid, gently in left.items() if gently):
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + GENTLE_SECONDS
        while _signal(pid, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    """Signal the session that ``pid`` leads; False if there is none (any more)."""
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
