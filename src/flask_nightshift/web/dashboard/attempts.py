"""The attempts of a job as a picture: for each, when it waited and when it ran. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ...domain.job import Outcome
from ...domain.record import AttemptRecord, JobRecord
from . import words

MOST = 50
"""Attempts that are drawn, the latest ones."""
WIDTH = 1000.0
LEAST = 5.0
"""Width of the shortest bar, so that it can be seen."""
TONES = {
    Outcome.SUCCEEDED: "good", Outcome.RETRIED: "warn", Outcome.DEAD: "bad", Outcome.RETURNED: "quiet",
    Outcome.SKIPPED: "quiet", Outcome.CANCELLED: "quiet", Outcome.EXPIRED: "quiet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawn:
    """An attempt: its name, its words, its tone, and its bars ``(x, width, tone)`` on the common axis of time."""

    name: str
    outcome: str
    tone: str
    took: str
    record: AttemptRecord
    bars: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """All attempts between ``since`` and ``until``; ``left_out`` earlier ones are not drawn."""

    since: datetime
    until: datetime
    attempts: tuple[Drawn, ...]
    left_out: int = 0

    @property
    def length(self) -> str:
        """The time between both ends."""
        return words.duration((self.until - self.since).total_seconds())


def picture(record: JobRecord, now: datetime) -> Picture | None:
    """The attempts of ``record`` at ``now``; None if there are none."""
    shown = record.history[-MOST:]
    if not shown:
        return None
    left_out = len(record.history) - len(shown)
    begins = [_begin(each) for each in shown]
    since = min(begins if left_out or record.enqueued_at is None else [record.enqueued_at, *begins])
    ends = [each.ended_at or _end_of_lost(each, shown[index + 1 :], now) for index, each in enumerate(shown)]
    until = max([*ends, since + timedelta(milliseconds=1)])
    drawn = tuple(
        _drawn(each, end, since, until, now, bool(record.run)) for each, end in zip(shown, ends, strict=True)
    )
    return Picture(since, until, drawn, left_out)


def _begin(attempt: AttemptRecord) -> datetime:
    return attempt.at - timedelta(seconds=max(0.0, attempt.wait or 0.0))


def _end_of_lost(attempt: AttemptRecord, later: Sequence[AttemptRecord], now: datetime) -> datetime:
    """An attempt without an end runs until now, or, if another one follows, its worker died before that."""
    return max(attempt.at, min((each.at for each in later), default=now))


def _drawn(
    attempt: AttemptRecord, end: datetime, since: datetime, until: datetime, now: datetime, replayed: bool
) -> Drawn:
    running = attempt.ended_at is None and end >= now
    outcome = str(attempt.outcome) if attempt.outcome else ("running" if running else "worker lost")
    tone = TONES[attempt.outcome] if attempt.outcome else ("info" if running else "bad")

    def bar(one: datetime, other: datetime, kind: str) -> tuple[float, float, str]:
        length = (until - since).total_seconds()
        left = min(WIDTH * (one - since).total_seconds() / length, WIDTH - LEAST)
        width = max(LEAST, WIDTH * (other - one).total_seconds() / length)
        return round(left, 1), round(min(width, WIDTH - left), 1), kind

    bars = [bar(_begin(attempt), attempt.at, "wait")] if (attempt.wait or 0) > 0 else []
    bars.append(bar(attempt.at, end, tone))
    name = f"{attempt.run + 1}.{attempt.number}" if replayed else str(attempt.number)
    took = words.duration(attempt.runtime) if attempt.runtime is not None else ""
    return Drawn(name, outcome, tone, took, attempt, tuple(bars))


__all__ = ["Drawn", "Picture", "picture"]
