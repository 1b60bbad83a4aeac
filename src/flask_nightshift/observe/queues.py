"""Queues: how many jobs wait there, for how long, how fast they go, and when the queue is empty.

The age of the oldest job comes from the broker if it can tell (``Capabilities.knows_age``), else from the history:
RabbitMQ would have to deliver a message to look at it, and that counts as a delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import journal
from ..background.loop import OUTAGES
from ..brokers.values import QueueDepth
from ..domain.job import utcnow
from ..domain.orders import Pause
from ..domain.recording import ALL
from ..journal.pace import Ended
from ..services import Services
from ..store import heartbeats
from ..store.heartbeats import WorkerRow
from . import bounded_calls, pauses, unheard
from .bounded_calls import Answer

SECONDS = 2.0
"""The time limit in seconds for all parts together."""
WINDOW = timedelta(minutes=5)
"""How far back the rate of a queue is measured."""
_LEAST = 10.0


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue now. None: not known.

    ``ready`` jobs could start, for ``oldest`` seconds the oldest of them (0 if there is none); ``estimated``: the
    history says so, not the broker. ``rate``: attempts that ended per second, of late. ``time_to_empty``: the seconds
    until the ready jobs are gone at this rate, without new ones. ``workers`` consume it, and have ``places`` for jobs,
    of which ``running`` run one of this queue or another.
    """

    queue: str
    ready: int | None = None
    delayed: int | None = None
    leased: int | None = None
    oldest: float | None = None
    estimated: bool = False
    rate: float | None = None
    time_to_empty: float | None = None
    pause: Pause | None = None
    workers: int | None = None
    places: int | None = None
    running: int | None = None

    @property
    def unheard(self) -> bool:
        """Whether jobs wait here and no worker takes them, although the queue is not paused."""
        return bool(self.ready) and self.workers == 0 and self.pause is None

    def as_dict(self) -> dict[str, Any]:
        """The row in plain JSON types; ``pause`` is null unless the queue is paused."""
        values: dict[str, Any] = asdict(self) | {"pause": self.pause.as_dict() if self.pause else None}
        names: dict[str, str] = {
            "oldest": "oldest_seconds",
            "rate": "rate_per_second",
            "time_to_empty": "time_to_empty_seconds",
        }
        return {names.get(name, name): _rounded(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Queues:
    """The rows by name, and what could not be asked, as sentences: the numbers of that are None.

    ``delayed``: the number of delayed jobs of all queues.
    """

    rows: list[QueueRow]
    problems: tuple[str, ...] = ()
    delayed: int | None = None


class _History(NamedTuple):
    """What the database knows. ``oldest`` is None if the broker knows the ages, or the history does not."""

    workers: list[WorkerRow]
    paces: dict[str, Ended]
    oldest: dict[str, datetime] | None


def seen(services: Services, names: Collection[str] | None = None, *, timeout: float = SECONDS) -> Queues:
    """The queues ``names`` (default: all that are known), within ``timeout`` seconds; never raises."""
    now = utcnow()
    wanted = sorted(names) if names is not None else None
    label = " ".join(wanted) if wanted is not None else ""
    questions: dict[str, Callable[[], Any]] = {
        f"queues-depths-{label}": lambda: services.broker.depths(wanted or _known(services)),
        "queues-paused": lambda: pauses.seen(services),
        f"queues-history-{label}": lambda: _ask_history(services, wanted or _known(services), now),
    }
    if wanted is None and not services.broker.capabilities.delayed_by_queue:
        questions["queues-delayed"] = services.broker.delayed
    depths, paused, history, *others = bounded_calls.of(services).gather(questions, timeout=timeout).values()
    errors = dict.fromkeys(each.error for each in (depths, paused, history, *others) if each.error)
    rows = _rows(wanted, depths, paused, history, now)
    by_queue = [row.delayed for row in rows if row.delayed is not None]
    delayed = sum(by_queue) if by_queue else next((each.value for each in others), None)
    return Queues(rows, tuple(errors), delayed)


def _ask_history(services: Services, names: Collection[str], now: datetime) -> _History:
    store, oldest = services.store, None
    if not services.broker.capabilities.knows_age and services.settings.history == ALL:
        oldest = journal.oldest_ready(store, names, now)
    return _History(heartbeats.workers(store, now), journal.ended_by_queue(store, now - WINDOW), oldest)


def _rows(
    wanted: Sequence[str] | None, asked: Answer, paused: Answer, history: Answer, now: datetime
) -> list[QueueRow]:
    """The rows of the queues that are ``wanted``, or of all that the answers name."""
    depths: Mapping[str, QueueDepth] = {depth.queue: depth for depth in asked.value or ()}
    pauses_: Mapping[str, Pause] = paused.value or {}
    known: _History | None = history.value
    names = wanted if wanted is not None else sorted({*depths, *pauses_})
    return [
        row(
            name,
            depths.get(name, QueueDepth(name, 0)) if asked.ok else None,
            pauses_.get(name),
            known.workers if known else None,
            known.paces if known else None,
            known.oldest if known else None,
            now,
        )
        for name in names
    ]


def row(
    name: str,
    depth: QueueDepth | None,
    pause: Pause | None,
    workers: Iterable[WorkerRow] | None,
    paces: Mapping[str, Ended] | None,
    oldest: Mapping[str, datetime] | None,
    now: datetime,
) -> QueueRow:
    """The queue ``name``; an argument that is None is not known."""
    healthy = None if workers is None else [each for each in workers if each.healthy and name in each.queues]
    rate = None if paces is None else rate_of(paces.get(name), now)
    ready = None if depth is None else depth.ready
    age, estimated = age_of(depth, None if oldest is None else oldest.get(name), oldest is not None, now)
    return QueueRow(
        queue=name,
        ready=ready,
        delayed=None if depth is None else depth.delayed,
        leased=None if depth is None else depth.leased,
        oldest=age,
        estimated=estimated,
        rate=rate,
        time_to_empty=time_to_empty(ready, rate),
        pause=pause,
        workers=None if healthy is None else len(healthy),
        places=None if healthy is None else sum(max(1, each.concurrency) for each in healthy),
        running=None if healthy is None else sum(len(each.busy) for each in healthy),
    )


def rate_of(ended: Ended | None, now: datetime) -> float:
    """Attempts that ended per second; 0 if none did."""
    if ended is None:
        return 0.0
    return ended.attempts / max(_LEAST, (now - ended.first_minute).total_seconds())


def time_to_empty(ready: int | None, rate: float | None) -> float | None:
    """The seconds until ``ready`` jobs are gone; None if it is not known or they do not go."""
    if ready == 0:
        return 0.0
    return ready / rate if ready and rate else None


def age_of(
    depth: QueueDepth | None, since: datetime | None, known: bool, now: datetime
) -> tuple[float | None, bool]:
    """The age of the oldest ready job in seconds, and whether the history says so (``since``, if it is ``known``)."""
    if depth is not None and (depth.oldest is not None or not depth.ready):
        return depth.oldest or 0.0, False
    if not known:
        return None, False
    return (None if since is None else max(0.0, (now - since).total_seconds())), since is not None


def _known(services: Services) -> list[str]:
    """The queues of the configuration, the paused ones, and those in which jobs wait, as the history knows."""
    names = {*services.queues()}
    for more in (lambda: pauses.seen(services), lambda: unheard.queues(services)):
        try:
            names.update(more())
        except OUTAGES:
            continue
    return sorted(names)


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


__all__ = ["WINDOW", "QueueRow", "Queues", "age_of", "rate_of", "row", "seen", "time_to_empty"]
