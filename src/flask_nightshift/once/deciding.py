"""What a marker means for a process that would like to do the work: a pure decision."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple


class Owner(NamedTuple):
    """Who does the work: a run of a job, or a process outside of any job (``job_id`` is None)."""

    job_id: str | None = None
    run: int = 0


class Marker(NamedTuple):
    """A row of the table ``markers``.

    An unfinished marker holds until ``expires_at``, a finished one is kept until then.
    """

    job_id: str | None
    run: int
    taken_at: datetime
    finished_at: datetime | None
    expires_at: datetime


class Ending(enum.Enum):
    """How a run of a job has ended, as far as the history knows."""

    UNKNOWN = enum.auto()
    WELL = enum.auto()
    OTHERWISE = enum.auto()


class Verdict(enum.Enum):
    """What follows from a marker."""

    FREE = enum.auto()
    DONE = enum.auto()
    HELD = enum.auto()


def judge(
    marker: Marker | None,
    owner: Owner,
    now: datetime,
    ending: Callable[[Owner], Ending],
    *,
    whole: bool = False,
) -> Verdict:
    """Whether ``owner`` may do the work, or it is done, or another one does it.

    ``ending`` says how a job's run has ended; it is asked only about another one's unfinished marker. ``whole``: the
    work is the whole body of a job, so a run that ended well has done it, although its marker does not say so.
    """
    if marker is None or marker.expires_at <= now:
        return Verdict.FREE
    if marker.finished_at is not None:
        return Verdict.DONE
    if marker.job_id is None:
        return Verdict.HELD
    if marker.job_id == owner.job_id and marker.run <= owner.run:
        return Verdict.FREE  # an earlier attempt was killed, or an earlier run ended
    ended = ending(Owner(marker.job_id, marker.run))
    if ended is Ending.UNKNOWN:
        return Verdict.HELD
    return Verdict.DONE if whole and ended is Ending.WELL else Verdict.FREE


__all__ = ["Ending", "Marker", "Owner", "Verdict", "judge"]
