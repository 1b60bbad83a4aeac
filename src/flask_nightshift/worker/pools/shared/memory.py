"""Memory that a parent shares with the children that it forks, as aligned words of 8 bytes.

A word is written and read in one piece (``struct.pack_into`` would write zeros first, and a reader see them).
"""

from __future__ import annotations

import mmap
import platform
import threading

WORD = 8
"""Bytes of a word."""
_ORDERED = platform.machine() in ("x86_64", "AMD64", "i686")
_lock = threading.Lock()
_lock.acquire()


def shared_bytes(size: int) -> memoryview:
    """``size`` bytes of zeros; children that are forked from now on share them. Freed with the last view of them."""
    return memoryview(mmap.mmap(-1, size))


def shared_words(count: int) -> memoryview:
    """``count`` words of zeros, shared likewise."""
    return shared_bytes(count * WORD).cast("Q")


def barrier() -> None:
    """Let no other process see what is written after this before what was written before it; the same for reading.

    x86 keeps that order by itself. Elsewhere the release and the acquisition of one lock make a full barrier.
    """
    if not _ORDERED:
        _lock.release()
        _lock.acquire()
