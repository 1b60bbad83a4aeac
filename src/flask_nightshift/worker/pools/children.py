"""What a pool of processes must not forget when the connection to the broker is lost.

Celery's pool then drops every job of which no child has said yet that it began. But what was written to a
child's pipe will begin. Dropped, it would run with nobody to settle it, and its message, which nobody refers to
any more, would return to the queue and run a second time (invariant 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def remembered(pool: Any) -> Iterator[None]:
    """Within this block ``pool`` may be flushed; the jobs that living children have been given are kept."""
    cache: dict[int, Any] = getattr(getattr(pool, "_pool", None), "_cache", {})  # other pools have none
    given = {number: job for number, job in cache.items() if _given(job)}
    try:
        yield
    finally:
        for number, job in given.items():
            if not job.ready():
                cache.setdefault(number, job)


def _given(job: Any) -> bool:
    child = getattr(job, "_write_to", None)
    return child is not None and child._is_alive()  # noqa: SLF001 - billiard has no other word for it
