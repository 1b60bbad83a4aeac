"""Dead letters as incidents: those that died of the same cause, with their number, their trend and an example.

Indexes alone count them, so the price depends on the number of letters and not on their size. Only an example of each
incident on the page is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select, union_all

from ..dead_letters import Status
from ..domain.job import utcnow
from ..errors import DeadLetterNotFound, InvalidKey
from ..services import Services
from ..store.tables import dead_letters as letters
from ..text.moments import iso_time

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BUCKETS: Mapping[timedelta, int] = {HOUR: 24, DAY: 14}
"""Number of buckets of a trend, by their length."""
MOST = 500
"""The highest number of incidents in one answer."""
LOOKED_AT = 5_000
"""Incidents of which the example is read to apply a filter by task or reason."""

_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions that an incident meets, all of them.

    ``open``: some of its letters wait. ``task`` and ``reason`` are those of its latest letter. ``since``: a letter died
    since then. ``by_count``: the largest first, else the one whose last letter is the latest.
    """

    open: bool = True
    task: str | None = None
    reason: str | None = None
    since: datetime | None = None
    fingerprint: str | None = None
    by_count: bool = False


@dataclass(frozen=True, slots=True)
class Trend:
    """Deaths in each bucket of ``step``, the oldest first; the first bucket begins at ``start``."""

    start: datetime
    step: timedelta
    counts: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "start": self.start.isoformat(),
            "seconds": int(self.step.total_seconds()),
            "counts": list(self.counts),
        }


@dataclass(frozen=True, slots=True)
class Incident:
    """Dead letters with the same fingerprint, in ``counts`` by their status.

    ``first_at`` and ``last_at`` are the first and the last death. ``task``, ``reason``, ``error``, ``message`` and
    ``place`` are those of ``example``, the id of its latest letter (one that waits, if any), of ``job_id``.
    """

    fingerprint: str
    counts: Mapping[str, int]
    first_at: datetime
    last_at: datetime
    trend: Trend
    task: str | None = None
    reason: str = ""
    error: str | None = None
    message: str | None = None
    place: str = ""
    example: str = ""
    job_id: str | None = None

    @property
    def waiting(self) -> int:
        """How many wait for a decision."""
        return self.counts["waiting"]

    @property
    def total(self) -> int:
        """How many there are, whatever became of them."""
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "fingerprint": self.fingerprint,
            "task": self.task,
            "reason": self.reason,
            "error": self.error,
            "message": self.message,
            "place": self.place,
            **self.counts,
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "trend": self.trend.as_dict(),
            "example": self.example,
            "job_id": self.job_id,
        }


@dataclass(frozen=True, slots=True)
class Incidents:
    """``found`` of ``total`` incidents, and the number of letters that wait in all of these.

    ``after`` is the key with which the next page begins; None if there is none.
    """

    found: tuple[Incident, ...] = ()
    total: int = 0
    waiting: int = 0
    after: str | None = None


class _Group(NamedTuple):
    """A fingerprint, its letters by status, when the first and the last died, and the last of those that wait."""

    fingerprint: str
    first_at: datetime
    last_at: datetime
    waiting_at: datetime | None
    counts: Mapping[str, int]


def incidents(
    services: Services,
    wanted: Wanted | None = None,
    limit: int = 50,
    step: timedelta = HOUR,
    after: str | None = None,
) -> Incidents:
    """Up to ``limit`` incidents that are ``wanted``, with trends in buckets of ``step``: ``HOUR`` or ``DAY``.

    ``after`` is the key of a page. Raises ``DatabaseUnavailable``, or ``InvalidKey`` for a key that no page has given.
    """
    asked = wanted or Wanted()
    begin = _place_of(after, asked) if after is not None else None
    with services.store.read() as connection:
        groups = _groups(connection, asked)
        examples: Mapping[str, Any] = {}
        if asked.task is not None or asked.reason is not None:
            examples = _examples(connection, groups[:LOOKED_AT])
            groups = [group for group in groups if _meets(examples.get(group.fingerprint), asked)]
        rest = groups if begin is None else [each for each in groups if _place(each, asked) > begin]
        shown = rest[: min(limit, MOST)]
        examples = examples or _examples(connection, shown)
        trends = _trends(connection, [group.fingerprint for group in shown], step, utcnow())
    found = tuple(_incident(each, examples.get(each.fingerprint), trends[each.fingerprint]) for each in shown)
    waiting = sum(group.counts["waiting"] for group in groups)
    return Incidents(found, len(groups), waiting, _key(shown[-1]) if len(rest) > len(shown) > 0 else None)


def incident(services: Services, fingerprint: str, step: timedelta = HOUR) -> Incident:
    """The incident with that fingerprint; raises ``DeadLetterNotFound`` or ``DatabaseUnavailable``."""
    found = incidents(services, Wanted(open=False, fingerprint=fingerprint), 1, step).found
    if not found:
        raise DeadLetterNotFound(
            f"no dead letter has the fingerprint {fingerprint!r}; 'flask jobs dead incidents' shows them"
        )
    return found[0]


def _groups(connection: Connection, asked: Wanted) -> list[_Group]:
    """The groups in their order, counted by the index alone."""
    fingerprint, status, at = letters.c.fingerprint, letters.c.status, letters.c.at
    query = select(fingerprint, status, func.count(), func.min(at), func.max(at))
    if asked.fingerprint is not None:
        # the index begins with the status, so the query names each
        query = query.where(fingerprint == asked.fingerprint, status.in_(list(Status)))
    found: dict[str, dict[str, tuple[int, datetime, datetime]]] = {}
    for of, state, *counted in connection.execute(query.group_by(status, fingerprint)):
        found.setdefault(of, {})[state] = (int(counted[0]), counted[1], counted[2])
    groups = [group for each in found.items() if _is_wanted(group := _group(*each), asked)]
    return sorted(groups, key=lambda each: _place(each, asked))


def _is_wanted(group: _Group, asked: Wanted) -> bool:
    if asked.open and group.waiting_at is None:
        return False
    return asked.since is None or group.last_at >= asked.since


def _key(last: _Group) -> str:
    return f"{last.counts['waiting']},{last.last_at.isoformat()},{last.fingerprint}"


def _place(group: _Group, asked: Wanted) -> tuple[int, float, str]:
    """Its place in the order of ``_groups``."""
    count = -group.counts["waiting"] if asked.by_count else 0
    return count, -group.last_at.timestamp(), group.fingerprint


def _place_of(key: str, asked: Wanted) -> tuple[int, float, str]:
    count, _, rest = key.partition(",")
    said, _, fingerprint = rest.partition(",")
    at = iso_time(said)
    if at is None or not fingerprint or not (count.isascii() and count.isdigit() and len(count) < 20):
        raise InvalidKey(
            f"{key!r} is not the key of a page of incidents: a page says how the next one begins"
        )
    return -int(count) if asked.by_count else 0, -at.timestamp(), fingerprint


def _group(fingerprint: str, by_status: Mapping[str, tuple[int, datetime, datetime]]) -> _Group:
    """A group of the number, the first and the last death of the letters in each status."""
    waiting = by_status.get(Status.WAITING)
    return _Group(
        fingerprint,
        min(first for _, first, _ in by_status.values()),
        max(last for *_, last in by_status.values()),
        waiting[2] if waiting else None,
        {str(each): by_status[each][0] if each in by_status else 0 for each in Status},
    )


_SHOWN = tuple(
    letters.c[name] for name in ("id", "job_id", "fingerprint", "task", "reason", "error", "message", "place")
)


def _examples(connection: Connection, groups: Sequence[_Group]) -> dict[str, Any]:
    """The latest letter of each group by its fingerprint: of those that wait, if any does."""
    found: dict[str, Any] = {}
    for first in range(0, len(groups), _CHUNK):
        some = groups[first : first + _CHUNK]
        latest = [and_(letters.c.fingerprint == each.fingerprint, *_is_latest(each)) for each in some]
        rows = connection.execute(select(*_SHOWN).where(or_(*latest)))
        found |= {row.fingerprint: row for row in rows}
    return found


def _is_latest(group: _Group) -> list[ColumnElement[bool]]:
    if group.waiting_at is None:
        return [letters.c.at == group.last_at]
    return [letters.c.at == group.waiting_at, letters.c.status == Status.WAITING]


def _meets(example: Any, asked: Wanted) -> bool:
    return (
        example is not None
        and asked.task in (None, example.task)
        and (asked.reason is None or asked.reason == example.reason)
    )


def _trends(
    connection: Connection, fingerprints: Sequence[str], step: timedelta, now: datetime
) -> dict[str, Trend]:
    """The deaths of each fingerprint in the buckets up to ``now``, whatever became of the letters.

    Each bucket is a range of the index, counted by itself: grouping by a part of the time would sort all that are in
    the index since the first bucket.
    """
    number = BUCKETS[step]
    seconds = int(step.total_seconds())
    last = int(now.timestamp()) // seconds
    start = datetime.fromtimestamp((last - number + 1) * seconds, UTC)
    counts = {each: [0] * number for each in fingerprints}
    for first in range(0, len(fingerprints), _CHUNK):
        some = letters.c.fingerprint.in_(fingerprints[first : first + _CHUNK])
        buckets = [_bucket(place, start, step).where(some) for place in range(number)]
        rows: Any = connection.execute(union_all(*buckets))
        for fingerprint, place, count in rows:
            counts[fingerprint][place] = int(count)
    return {each: Trend(start, step, tuple(found)) for each, found in counts.items()}


def _bucket(place: int, start: datetime, step: timedelta) -> Select[Any]:
    """The number of deaths of each fingerprint in one bucket; a clock that is ahead counts as now."""
    at = letters.c.at
    query = select(letters.c.fingerprint, literal(place), func.count()).group_by(letters.c.fingerprint)
    query = query.where(at >= start + place * step)
    return query if place == BUCKETS[step] - 1 else query.where(at < start + (place + 1) * step)


def _incident(group: _Group, example: Any, trend: Trend) -> Incident:
    made = Incident(group.fingerprint, group.counts, group.first_at, group.last_at, trend)
    if example is None:  # it was deleted at this moment
        return made
    return replace(
        made,
        task=example.task,
        reason=example.reason,
        error=example.error,
        message=example.message,
        place=example.place or "",
        example=example.id,
        job_id=example.job_id,
    )


__all__ = [
    "BUCKETS",
    "DAY",
    "HOUR",
    "MOST",
    "Incident",
    "Incidents",
    "Trend",
    "Wanted",
    "incident",
    "incidents",
]
