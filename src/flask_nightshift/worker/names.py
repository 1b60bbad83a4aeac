"""Worker names: each belongs to one worker, because monitors and remote control identify a worker by its name.

Without ``--name`` a worker takes the first free name of ``worker@HOST``, ``worker2@HOST``, … . A number is reused; a
name with a process id would be new at every start, and each name leaves rows behind.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys

from celery.utils.nodenames import default_nodename, gethostname, host_format

MOST = 1000
"""The highest number; further workers of an app on one host get their process id."""

_taken: list[socket.socket] = []


def full(name: str) -> str:
    """``name`` expanded as by Celery's ``-n``: ``%h`` is the host, ``%n`` its first part and ``%d`` the rest."""
    return str(host_format(default_nodename(name)))


def free(space: str) -> str:
    """A name that no other worker on this host has in ``space``, which identifies the app."""
    host = gethostname()
    if sys.platform != "linux":
        return f"worker-{os.getpid()}@{host}"
    for number in range(1, MOST):
        name = f"worker{number if number > 1 else ''}@{host}"
        if _take(space, name):
            return name
    return f"worker-{os.getpid()}@{host}"


def _take(space: str, name: str) -> bool:
    """Hold ``name`` until this process ends, even by a kill.

    An abstract Linux socket holds it: the kernel frees it with the process, independent of users and folders.
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
    """Release this process's names. Children release them too, because they outlive a killed parent for a moment."""
    for holder in _taken:
        holder.close()
    _taken.clear()


os.register_at_fork(after_in_child=release)
