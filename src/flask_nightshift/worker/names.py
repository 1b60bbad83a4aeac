"""What a worker is called: a name is one worker's alone, as monitors and remote control know it by that.

Without ``--name`` a worker takes the first free one of ``worker@HOST``, ``worker2@HOST``, … . Numbers, since a name
with a process id in it would be a new one at every start, and each leaves rows behind.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys

from celery.utils.nodenames import default_nodename, gethostname, host_format

MOST = 1000
"""Workers of one app on one host that get a number."""

_taken: list[socket.socket] = []


def full(name: str) -> str:
    """``name`` as Celery's ``-n`` has it: ``%h`` is the host, ``%n`` its first part and ``%d`` the rest."""
    return str(host_format(default_nodename(name)))


def free(space: str) -> str:
    """A name that no other worker of ``space`` (which app's) on this host has."""
    host = gethostname()
    if sys.platform != "linux":
        return f"worker-{os.getpid()}@{host}"
    for number in range(1, MOST):
        name = f"worker{number if number > 1 else ''}@{host}"
        if _take(space, name):
            return name
    return f"worker-{os.getpid()}@{host}"


def _take(space: str, name: str) -> bool:
    """Hold ``name`` until this process ends, however that happens.

    A Linux socket without a file: the system frees it with its process, and users and folders do not matter.
    """
    digest = hashlib.sha256(f"{space} {name}".encode()).hexdigest()[:32]
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0nightshift-{digest}")
    except OSError:
        holder.close()
        return False
    _taken.append(holder)
    return True


def release() -> None:
    """Let go of this process's names. In its children, too: they live on for a moment when it was killed."""
    for holder in _taken:
        holder.close()
    _taken.clear()


os.register_at_fork(after_in_child=release)
