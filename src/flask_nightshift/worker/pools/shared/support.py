"""What of Linux the pool needs, and whether it is there. Elsewhere Celery's own pool runs the jobs."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
from functools import cache

_PR_SET_PDEATHSIG = 1


@cache
def supported() -> bool:
    """Whether this system has all of it; a container's filter of system calls may leave some of it out.

    A limit for the size of files also holds for files in memory, and so for large jobs.
    """
    if sys.platform != "linux":
        return False
    import resource

    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return False
    try:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = [os.eventfd(0), os.memfd_create("nightshift"), os.pidfd_open(os.getpid())]
        for end in pair:
            end.close()
        for fd in fds:
            os.close(fd)
        select.epoll().close()
    except (OSError, AttributeError):
        return False
    return True


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent ends (more exactly, when the thread ends that forked it)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


__all__ = ["die_with_parent", "supported"]
