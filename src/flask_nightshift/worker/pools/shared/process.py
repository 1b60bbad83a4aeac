"""A child as its parent sees it: a process that can be watched, stopped and buried, and the memory that outlives it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .child import Child, Shared, Work
from .ring import Ring
from .slot import Slot

UNKNOWN = 255
"""Exit code of a child whose end nobody can tell."""


@dataclass(frozen=True, slots=True)
class Process:
    """A child process that has not been waited for, so no other process can get its pid.

    ``fd`` is readable once it is dead. ``born`` is by the clock of its maker.
    """

    pid: int
    index: int
    fd: int
    born: float
    slot: Slot
    ring: Ring

    def send(self, signum: int) -> None:
        """Send it a signal; no effect if it is dead."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.fd, signum)

    def is_stopped(self) -> bool:
        """Whether it is stopped or dead. Leaves its exit status to ``bury``."""
        try:
            seen = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # as in ``bury``
            return True
        return seen is not None

    def bury(self) -> int:
        """Wait for its end; its exit code, or the negative number of the signal that killed it.

        ``UNKNOWN`` if the system or somebody else in this process has waited for it: SIGCHLD may be ignored, also by
        whoever started this process, or have a handler that waits for all children.
        """
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return UNKNOWN
        finally:
            os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def start(
    index: int, shared: Shared, work: Work, *, born: float, close: Callable[[], None], of: type[Child] = Child
) -> Process:
    """Fork a child. ``close`` is called in it, and closes what only the parent needs."""
    work.before_fork()
    slot, ring = Slot(), Ring()
    child = of(shared, slot, ring, work)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # its reader is gone, or it is closed
                stream.flush()  # else both would write what stands in them
    pid = os.fork()
    if not pid:
        try:
            close()
            child.main(index)
        finally:
            os._exit(1)
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise
    return Process(pid, index, fd, born, slot, ring)


__all__ = ["UNKNOWN", "Process", "start"]
