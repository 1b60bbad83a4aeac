"""Which publish of an attempt a message is, if it came from an outbox.

A row of an outbox may be published twice: by the process that committed it, and by a relay that found the row a moment
later. Each publish has a number of its own in the ``nightshift`` header, so a second publish differs from a redelivery:

    outbox  id of the row
    copy    number of this publish, from 1

A retry and a replay drop both. A job id may be enqueued twice (``task_id=``, ``self.replace()``), so the row identifies
a publish, and the job does not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..text.lines import LOGGER, Line, job_fields
from .headers import COPY, HISTORY, MOST, OUTBOX, ref, retries, run

logger = logging.getLogger(LOGGER)

REMEMBERED = 3600
"""Seconds for which a broker refuses a second publish of an attempt."""


class Copy(NamedTuple):
    """One publish of an outbox's row; ``number`` distinguishes it from another publish of the same row."""

    row: str
    run: int
    attempt: int
    number: int

    @property
    def of(self) -> tuple[str, int, int]:
        """The attempt: ``(row, run, attempt)``."""
        return self[:3]


def copy_of(headers: Mapping[str, Any] | None) -> Copy | None:
    """Which publish of which attempt a message with these ``headers`` is; None if it did not come from an outbox."""
    past = (headers or {}).get(HISTORY)
    if not isinstance(past, Mapping) or OUTBOX not in past:
        return None
    row, number = past[OUTBOX], past.get(COPY)
    if not isinstance(row, str) or not isinstance(number, int) or not 0 < number <= MOST:
        return None
    return Copy(row, run(headers), retries(headers or {}) + 1, number)


def stamp_copy(headers: dict[str, Any], row: str, number: int) -> dict[str, Any]:
    """``headers`` of publish ``number`` of the message in the outbox's ``row``."""
    return {**headers, HISTORY: {**headers[HISTORY], OUTBOX: row, COPY: number}}


def tell_duplicate(headers: Mapping[str, Any], queue: str, **fields: Any) -> None:
    """Log that a second publish of an attempt was dropped."""
    text = "dropped, because another publish of the same job came first"
    logger.warning(Line("job.duplicate", text, **job_fields(ref(headers, queue)), **fields))


__all__ = ["REMEMBERED", "Copy", "copy_of", "stamp_copy", "tell_duplicate"]
