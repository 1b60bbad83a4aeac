"""The memory of a worker with its child processes, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def used() -> int | None:
    """Bytes of memory that this process and its children use; pages that they share count once.

    None where the system does not tell (it is the ``Pss`` of Linux's ``smaps_rollup``).
    """
    pid = os.getpid()
    sizes = [_size(each) for each in (str(pid), *_children(pid))]
    return sum(filter(None, sizes)) if sizes[0] is not None else None


def _children(pid: int) -> list[str]:
    try:
        tasks = list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []
    found: set[str] = set()
    for task in tasks:
        try:
            found.update((task / "children").read_text().split())
        except OSError:  # the thread has ended
            continue
    return sorted(found)


def _size(pid: str) -> int | None:
    """The share of one process, in bytes; None if it has ended, or the system does not tell."""
    try:
        with (_PROC / pid / "smaps_rollup").open("rb") as lines:
            for line in lines:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


__all__ = ["used"]
