"""The id of this process without a system call, which jobs and ``delay()`` ask for several times each.

The kernel empties a page of memory in each copy of this process, however it was made (``MADV_WIPEONFORK``, Linux 4.14):
also by a server that forks without Python's hooks. Elsewhere the system is asked each time.
"""

from __future__ import annotations

import mmap
import os

_MADV_WIPEONFORK = 18
"""As in ``linux/mman.h``; Python has no name for it."""


def pid() -> int:
    """The id of this process."""
    if not _known[0]:
        _ask()
    return _pid


def _ask() -> None:
    global _pid
    _pid = os.getpid()
    if isinstance(_known, mmap.mmap):
        _known[0] = 1


def _emptied_by_forks() -> mmap.mmap | bytes:
    """A page that is emptied in copies of this process; where there is none, a byte that stays 0."""
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (AttributeError, OSError, ValueError):
        return bytes(1)
    return page


_known = _emptied_by_forks()
_pid = os.getpid()

__all__ = ["pid"]
