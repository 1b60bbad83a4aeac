"""An entry as one Beat serves it: its timing, and until when its ticks are dealt with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..domain.tick import FAR
from ..store.schedules import Begin, Row
from . import due
from .due import Due
from .entry import JobEntry
from .timing import Cron, Custom, Timing, fingerprint, timing_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The anchor of an interval while the database, which has its own, is away: all Beats compute the same moments."""


@dataclass
class Life:
    """What a Beat knows of an entry. ``source`` is the schedule that ``timing`` was made of.

    ``last``: ticks until then are dealt with. ``ticked``: this Beat dealt with one. ``adopted``: the database's row is
    known. ``yields``: another Beat was faster last time. ``sending``: the tick that is being sent; it may have
    succeeded although its answer was lost. ``waits``: it could not be sent, and the log says so. ``told``: the log
    names the ticks that were missed until then.
    """

    source: Any
    timing: Timing
    fingerprint: str
    last: datetime
    anchor: datetime = EPOCH
    adopted: bool = False
    ticked: bool = False
    yields: bool = False
    sending: datetime | None = None
    waits: bool = False
    told: datetime | None = None

    @classmethod
    def of(cls, entry: JobEntry, now: datetime) -> Life:
        """The life of an entry that this Beat sees first at ``now``."""
        when, zone = entry.schedule, entry.timezone
        return cls(when, timing_of(when, zone), fingerprint(when, zone), now)

    def begin(self, entry: JobEntry) -> Begin:
        """What to write, if the entry begins now."""
        zone = str(self.timing.zone) if isinstance(self.timing, Cron) else None
        queue = entry.options.get("queue")
        told = {
            "task": entry.task,
            "queue": None if queue is None else str(getattr(queue, "name", queue)),
            "spec": self.timing.spec,
            "timezone": zone,
        }
        return Begin(self.fingerprint, self.last, told)

    def adopt(self, row: Row) -> None:
        """Go on where the row says; ticks that this Beat dealt with before it could read the row stay so."""
        self.adopted = True
        self.anchor = row.anchor or self.anchor
        last = row.last_due_at or self.last
        self.last = max(self.last, last) if self.ticked else last

    def follow(self, row: Row, now: datetime) -> None:
        """Note what other Beats, and operators, dealt with."""
        if (
            row.last_due_at is not None
            and row.fingerprint == self.fingerprint
            and not is_far(row.last_due_at, now)
        ):
            self.passed(row.last_due_at)

    def mend(self, now: datetime) -> bool:
        """Begin again at ``now`` if the last tick was set far in the future, by a clock that was wrong."""
        wrong = is_far(self.last, now)
        if wrong:
            self.last = now
        return wrong

    def passed(self, until: datetime) -> None:
        """Ticks until ``until`` are dealt with."""
        self.last = max(self.last, until)

    def next_after(self, moment: datetime) -> datetime | None:
        """The tick after ``moment``; None for a custom schedule."""
        return self.timing.next_after(moment, self.anchor)

    def due(self, now: datetime, catch_up: str, deadline: float | None) -> Due:
        """What is due of a series; ``deadline`` in seconds holds for crontabs (``beat_cron_starting_deadline``)."""
        latest = (
            timedelta(seconds=deadline) if deadline is not None and isinstance(self.timing, Cron) else None
        )
        return due.due(self.next_after, self.last, now, catch_up, latest)

    @property
    def is_custom(self) -> bool:
        """Whether the schedule itself decides from the last run."""
        return isinstance(self.timing, Custom)


def is_far(moment: datetime, now: datetime) -> bool:
    """Whether a last tick at ``moment`` comes from a clock that was wrong."""
    return moment > now + FAR


__all__ = ["EPOCH", "Life"]
