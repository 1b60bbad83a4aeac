"""Blocks of rows that one process wrote in a row, for an index of the ends of ids.

The ends of ids come in no order. An index of them alone would change another page for each job, all over the index; the
block in front of the end keeps what is written together in one place. A search looks into each block.
"""

from __future__ import annotations

import time

ROWS = 4096
"""Number of rows in a block. Among 1,000,000 rows of one process, a search looks into 250 blocks."""
SECONDS = 3600.0
"""Seconds for which a block gets rows; so it holds rows of about the same time, and old ones are pruned with them."""

_number = 0
_left = 0
_until = 0.0


def block(rows: int) -> int:
    """The number of the block for the next ``rows`` rows."""
    global _number, _left, _until
    if _left <= 0 or time.monotonic() > _until:
        _number = time.time_ns() // 1000  # another process with the same number shares the block
        _left, _until = ROWS, time.monotonic() + SECONDS
    _left -= rows
    return _number


__all__ = ["ROWS", "SECONDS", "block"]
