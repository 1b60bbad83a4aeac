"""Health: checks six parts at the same time, each within a time limit.

    broker     it answers
    database   it answers
    workers    at least one reported in the last 15 s, and its event loop runs
    queues     which are paused (that is no failure)
    outbox     its database answers; how many jobs wait there, and for how long; whether the broker lost its data
    beat       any of them ticked in the last 30 s (an idle Beat ticks too; Nightshift's own retention job needs it)

Workers and Beat report to the database, so while it is down their state is unknown and their checks fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from ..domain.job import utcnow
from ..journal import note
from ..outbox.claims import COUNTED, Backlog, backlog_of
from ..services import Services
from ..store import epochs, heartbeats
from ..text.counts import plural
from . import bounded_calls, pauses

HEALTH_SECONDS = 2.0
"""Seconds after which the check of a part fails."""
WIPE_TOLD = timedelta(days=1)
"""For how long a broker's loss of its data is told."""
BEAT_FRESH = heartbeats.BEAT_FRESH.total_seconds()
"""Seconds after its last tick when Beat counts as dead."""


@dataclass(frozen=True, slots=True)
class Check:
    """One part: whether it works, the seconds that its answer took, and a sentence for people."""

    ok: bool
    latency: float
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """``{"status": "ok"|"fail", "latency_ms", "detail"}``."""
        status = "ok" if self.ok else "fail"
        return {"status": status, "latency_ms": round(self.latency * 1000, 1), "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Report:
    """The checked parts, by name."""

    parts: dict[str, Check]

    @property
    def ok(self) -> bool:
        """Whether every part works."""
        return all(check.ok for check in self.parts.values())

    @property
    def status(self) -> str:
        """``ready`` or ``unavailable``."""
        return "ready" if self.ok else "unavailable"

    def as_dict(self) -> dict[str, Any]:
        """``{"status", "parts": {name: {"status", "latency_ms", "detail"}}}``."""
        return {"status": self.status, "parts": {name: check.as_dict() for name, check in self.parts.items()}}


def check(
    services: Services,
    parts: Iterable[str] | None = None,
    *,
    worker: str | None = None,
    timeout: float = HEALTH_SECONDS,
    max_age: float = 0.0,
) -> Report:
    """Check ``parts`` (default: all) within ``timeout`` seconds.

    Raises ``ValueError`` for an unknown part, and nothing else.
    With ``worker`` (a worker's name or host name), the part ``workers`` covers only that worker. An answer younger than
    ``max_age`` seconds is reused.
    """
    wanted = {name: _part(name) for name in (PARTS if parts is None else parts)}
    questions = {f"health-{name}": partial(part.question, services, timeout) for name, part in wanted.items()}
    answers = bounded_calls.of(services).gather(questions, timeout=timeout, max_age=max_age)
    return Report({name: _judge(part, answers[f"health-{name}"], worker) for name, part in wanted.items()})


def _part(name: str) -> _Part:
    if name not in _PARTS:
        raise ValueError(f"there is no part {name!r}; the parts are {', '.join(PARTS)}")
    return _PARTS[name]


def _judge(part: _Part, answer: bounded_calls.Answer, worker: str | None) -> Check:
    if answer.error is not None:
        return Check(False, answer.latency, answer.error)
    return part.judge(answer, worker)


def _broker(answer: bounded_calls.Answer, _: str | None) -> Check:
    health = answer.value
    return Check(True, health.latency, f"{health.product} {health.version}".strip())


def _database(answer: bounded_calls.Answer, _: str | None) -> Check:
    seconds, said = answer.value
    return Check(True, seconds, f"answers; {said}" if said else "answers")


def _ask_database(services: Services, timeout: float) -> tuple[float, str]:
    return services.store.ping(timeout), note(services.settings.history)


def _queues(answer: bounded_calls.Answer, _: str | None) -> Check:
    found = [f"{name} {pause}" for name, pause in answer.value.items()]
    return Check(True, answer.latency, _some(found, "; ") if found else "none is paused")


def _outbox(answer: bounded_calls.Answer, _: str | None) -> Check:
    (rows, oldest), wiped = answer.value
    said = "no job waits"
    if rows:
        count = f"{COUNTED} jobs or more wait" if rows >= COUNTED else plural(rows, "job", "wait")
        said = f"{count}, the oldest for {oldest:.0f} s"
    if wiped is not None and utcnow() - wiped < WIPE_TOLD:
        said += f"; the broker lost its data at {wiped:%Y-%m-%d %H:%M:%S} UTC, and with it the jobs that waited there"
    return Check(True, answer.latency, said)


def _ask_outbox(services: Services) -> tuple[Backlog, datetime | None]:
    return backlog_of(services.outboxes), epochs.wiped_at(services.store, [services.broker.url])


def _beat(answer: bounded_calls.Answer, _: str | None) -> Check:
    state: heartbeats.BeatState = answer.value
    if state.last_tick is None:
        return Check(False, answer.latency, "never seen; start one with `flask jobs beat`")
    age = max(0.0, (utcnow() - state.last_tick).total_seconds())
    if age > BEAT_FRESH:
        return Check(False, answer.latency, f"last tick {age:.0f} s ago, more than {BEAT_FRESH:.0f} s")
    several = f"; {len(state.alive)} run" if len(state.alive) > 1 else ""
    return Check(True, answer.latency, f"last tick {age:.1f} s ago{several}")


def _workers(answer: bounded_calls.Answer, worker: str | None) -> Check:
    rows: Sequence[heartbeats.WorkerRow] = answer.value
    if worker is not None:
        rows = [row for row in rows if worker in (row.name, row.hostname)]
        if not rows:
            return Check(False, answer.latency, f"no worker {worker!r} is known")
    if not rows:
        return Check(False, answer.latency, "none known; start one with `flask jobs worker`")
    healthy = [row.name for row in rows if row.healthy]
    ill = [f"{row.name}: {row.problem}" for row in rows if not row.healthy]
    said = [f"{len(healthy)} healthy ({_some(healthy, ', ')})"] if healthy else ["none is healthy"]
    return Check(bool(healthy), answer.latency, "; ".join([*said, _some(ill, "; ")] if ill else said))


def _some(names: Sequence[str], separator: str, limit: int = 5) -> str:
    rest = len(names) - limit
    return separator.join([*names[:limit], *([f"{rest} more"] if rest > 0 else [])])


@dataclass(frozen=True, slots=True)
class _Part:
    """What a part is asked, within that many seconds; and what its answer means, for one worker or for all."""

    question: Callable[[Services, float], Any]
    judge: Callable[[bounded_calls.Answer, str | None], Check]


_PARTS = {
    "broker": _Part(lambda services, timeout: services.broker.health(timeout), _broker),
    "database": _Part(_ask_database, _database),
    "queues": _Part(lambda services, _: pauses.seen(services), _queues),
    "outbox": _Part(lambda services, _: _ask_outbox(services), _outbox),
    "workers": _Part(lambda services, _: heartbeats.workers(services.store, utcnow()), _workers),
    "beat": _Part(lambda services, _: heartbeats.beats(services.store, utcnow()), _beat),
}
PARTS = tuple(_PARTS)

__all__ = ["BEAT_FRESH", "HEALTH_SECONDS", "PARTS", "Check", "Report", "check"]
