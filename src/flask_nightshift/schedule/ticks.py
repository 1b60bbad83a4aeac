"""What follows from an entry and the moment of its tick: the job's id, and its jitter. The same in every process."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from ..enqueue.ids import id_of

_ONE = 1 << 53


def job_id(entry: str, due: datetime) -> str:
    """The id of the job of a tick, which begins with the tick's time."""
    return id_of(due, entry)


def jitter(entry: str, due: datetime, seconds: float) -> timedelta:
    """How long after its tick the job starts: from 0 to ``seconds``, spread evenly over ticks and entries."""
    text = f"jitter\0{entry}\0{due.timestamp():.6f}"
    part = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7]) % _ONE / _ONE
    return timedelta(seconds=seconds * part)


__all__ = ["jitter", "job_id"]
