"""Health: checks four parts at the same time, each within a time limit.

    broker     it answers
    database   it answers
    workers    at least one reported in the last 15 s, and its event loop runs
    beat       it ticked in the last 30 s (an idle Beat ticks too; Nightshift's own retention job needs it)

Workers and Beat report to the database, so while it is down their state is unknown and their checks fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..domain.job import utcnow
from ..services import Services
from ..store import heartbeats
from . import bounded_calls

PARTS = ("broker", "database", "workers", "beat")
HEALTH_SECONDS = 2.0
"""Seconds after which the check of a part fails."""
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
    parts: Iterable[str] = PARTS,
    *,
    worker: str | None = None,
    timeout: float = HEALTH_SECONDS,
    max_age: float = 0.0,
) -> Report:
    """Check ``parts`` within ``timeout`` seconds; raises ``ValueError`` for an unknown part, and nothing else.

    With ``worker`` (a worker's name or host name), the part ``workers`` covers only that worker. An answer younger than
    ``max_age`` seconds is reused.
    """
    questions = {f"health-{part}": _question(services, part, timeout) for part in dict.fromkeys(parts)}
    answers = bounded_calls.of(services).gather(questions, timeout=timeout, max_age=max_age)
    checks = {}
    for name, answer in answers.items():
        part = name.removeprefix("health-")
        checks[part] = _judge(part, answer, worker, utcnow())
    return Report(checks)


def _question(services: Services, part: str, timeout: float) -> Callable[[], Any]:
    if part == "broker":
        return lambda: services.broker.health(timeout)
    if part == "database":
        return lambda: services.store.ping(timeout)
    if part == "workers":
        return lambda: heartbeats.workers(services.store, utcnow())
    if part == "beat":
        return lambda: heartbeats.beats(services.store, utcnow())
    raise ValueError(f"there is no part {part!r}; the parts are {', '.join(PARTS)}")


def _judge(part: str, answer: bounded_calls.Answer, worker: str | None, now: datetime) -> Check:
    if answer.error is not None:
        return Check(False, answer.latency, answer.error)
    if part == "broker":
        return Check(True, answer.value.latency, f"{answer.value.product} {answer.value.version}".strip())
    if part == "database":
        return Check(True, answer.value, "answers")
    ok, detail = _beat(answer.value, now) if part == "beat" else _workers(answer.value, worker)
    return Check(ok, answer.latency, detail)


def _beat(state: heartbeats.BeatState, now: datetime) -> tuple[bool, str]:
    if state.last_tick is None:
        return False, "never seen; start it with `flask jobs beat`"
    age = max(0.0, (now - state.last_tick).total_seconds())
    if age > BEAT_FRESH:
        return False, f"last tick {age:.0f} s ago, more than {BEAT_FRESH:.0f} s"
    several = f"; {len(state.alive)} run, and each enqueues every entry" if len(state.alive) > 1 else ""
    return True, f"last tick {age:.1f} s ago{several}"


def _workers(rows: Sequence[heartbeats.WorkerRow], worker: str | None) -> tuple[bool, str]:
    if worker is not None:
        rows = [row for row in rows if worker in (row.name, row.hostname)]
        if not rows:
            return False, f"no worker {worker!r} is known"
    if not rows:
        return False, "none known; start one with `flask jobs worker`"
    healthy = [row.name for row in rows if row.healthy]
    ill = [f"{row.name}: {row.problem}" for row in rows if not row.healthy]
    said = [f"{len(healthy)} healthy ({_some(healthy, ', ')})"] if healthy else ["none is healthy"]
    return bool(healthy), "; ".join([*said, _some(ill, "; ")] if ill else said)


def _some(names: Sequence[str], separator: str, limit: int = 5) -> str:
    rest = len(names) - limit
    return separator.join([*names[:limit], *([f"{rest} more"] if rest > 0 else [])])


__all__ = ["BEAT_FRESH", "HEALTH_SECONDS", "PARTS", "Check", "Report", "check"]
