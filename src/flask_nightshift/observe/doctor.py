"""``flask jobs doctor``: what is set up wrongly, checked against the live broker and database.

Each check is a small function from what was found to findings; each finding that is not ``ok`` says how to
mend it. Levels: ``error`` (jobs do not run, or can be lost), ``warning`` (will hurt one day), ``info``
(worth knowing), ``ok``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import make_url

from ..brokers.base import Finding, QueueDepth
from ..compat import check
from ..config.leftovers import leftovers
from ..errors import ConfigurationError
from ..schedule import entries as schedule
from ..services import Services
from ..store.heartbeats import WorkerRow
from . import bounded_calls, database_checks
from . import overview as inspector
from .bounded_calls import Answer
from .our_rules import hidden
from .overview import Overview
from .unheard import near

DOCTOR_SECONDS = 8.0
"""Seconds for all that is asked of the broker and the database."""
LONGEST_SENSIBLE_BACKOFF = 86_400.0
"""A wait between attempts above this, in seconds, is probably a mistake in the unit."""
UNSAFE_CONTENT = frozenset({"pickle", "yaml", "application/x-python-serialize", "application/x-yaml"})


@dataclass(frozen=True, slots=True)
class _Facts:
    services: Services
    overview: Overview
    broker: Answer
    diagnosis: Answer
    asked: Mapping[str, Answer]

    @property
    def workers(self) -> list[WorkerRow]:
        """Those that are alive."""
        rows = self.overview.workers.value if self.overview.workers.ok else []
        return [row for row in rows if row.healthy]


def examine(services: Services) -> list[Finding]:
    """All findings, in the order of the checks; never raises for a broker or database that is away."""
    facts = _gather(services)
    checks = (
        _libraries,
        _settings,
        _broker,
        _database,
        _limits,
        _retries,
        _content,
        _schedule,
        _queues,
        _workers,
        _beat,
        _http,
    )
    return [finding for check in checks for finding in check(facts)]


def _gather(services: Services) -> _Facts:
    queues = services.queues()
    longest = services.longest_time_limit()
    asked = bounded_calls.of(services).gather(
        {
            "doctor-broker": lambda: services.broker.health(DOCTOR_SECONDS / 2),
            "doctor-diagnosis": lambda: services.broker.diagnose(longest_time_limit=longest, queues=queues),
            **database_checks.questions(services),
        },
        timeout=DOCTOR_SECONDS,
    )
    return _Facts(
        services=services,
        overview=inspector.overview(services, timeout=DOCTOR_SECONDS / 2),
        broker=asked["doctor-broker"],
        diagnosis=asked["doctor-diagnosis"],
        asked=asked,
    )


def _libraries(facts: _Facts) -> Iterator[Finding]:  # noqa: ARG001 - a check like the others
    """Other versions of Celery and the like than those that we read; their source is compared only then."""
    unchecked = check.unchecked()
    broken = check.broken(load=True)
    remedy = "Install the versions that Flask-Nightshift requires: pip install Flask-Nightshift"
    for each in broken:
        yield Finding("error", "libraries", str(each), remedy)
    changed = check.differing() if unchecked and not broken else []
    for each in changed:
        yield Finding("warning", "libraries", str(each), remedy)
    for library in unchecked:
        level = "warning" if broken or changed else "info"
        yield Finding(level, "libraries", f"{library}", remedy)


def _settings(facts: _Facts) -> Iterator[Finding]:
    """What looks like a setting and is none."""
    for found in leftovers(facts.services.app, facts.services.settings):
        yield Finding(
            "warning", "settings", f"{found.name} in {found.where} has no effect", f"{found.remedy}."
        )


def _broker(facts: _Facts) -> Iterator[Finding]:
    url = facts.services.broker.url
    if not facts.broker.ok:
        yield Finding(
            "error",
            "broker",
            database_checks.away(url, facts.broker),
            "Start it, or correct NIGHTSHIFT_BROKER_URL, as the case may be. `flask jobs broker` runs an embedded one.",
        )
        return
    health = facts.broker.value
    yield Finding(
        "ok",
        "broker",
        f"{' '.join(filter(None, (health.product, health.version)))} at {url}, {health.latency * 1000:.1f} ms",
    )
    if facts.diagnosis.ok:
        yield from facts.diagnosis.value
    else:
        yield Finding(
            "warning", "broker", f"could not be examined: {facts.diagnosis.error}", "Run the doctor again."
        )


def _database(facts: _Facts) -> Iterator[Finding]:
    yield from database_checks.findings(facts.services, facts.asked)
    hosts = sorted({view.hostname for view in facts.workers})
    if make_url(facts.services.settings.database_url).get_backend_name() == "sqlite" and len(hosts) > 1:
        yield Finding(
            "warning",
            "database",
            f"SQLite is used from several hosts ({_some(hosts)}); its locks do not work over a network",
            "Use PostgreSQL: NIGHTSHIFT_DATABASE_URL=postgresql+psycopg://…",
        )


def _limits(facts: _Facts) -> Iterator[Finding]:
    """Time limits of tasks; a job without one can hold a worker for ever."""
    conf, grace = facts.services.celery.conf, facts.services.settings.stop_grace
    unlimited, crossed, longer = [], [], []
    for task in facts.services.tasks():
        hard = task.time_limit or conf.task_time_limit
        soft = task.soft_time_limit or conf.task_soft_time_limit
        if not hard:
            unlimited.append(task.name)
        elif soft and soft >= hard:
            crossed.append(f"{task.name} ({soft:g} >= {hard:g} s)")
        elif hard > grace:
            longer.append(task.name)
    if unlimited:
        yield Finding(
            "warning",
            "time limits",
            f"none for {_some(unlimited)}: a job that hangs keeps its worker for ever",
            "Set time_limit (seconds) on the task, or in NIGHTSHIFT_TASK_DEFAULTS.",
        )
    if crossed:
        yield Finding(
            "error",
            "time limits",
            f"the soft limit never comes: {_some(crossed)}",
            "Make soft_time_limit smaller than time_limit.",
        )
    if longer:
        yield Finding(
            "info",
            "time limits",
            f"{_some(longer)} may run longer than the stop grace of {grace:g} s; what still runs then goes "
            "back to its queue and begins again on another worker",
            "Make these jobs safe to run twice, or raise NIGHTSHIFT_STOP_GRACE (and the container's).",
        )
    if not (unlimited or crossed):
        yield Finding("ok", "time limits", "every task has one")


def _retries(facts: _Facts) -> Iterator[Finding]:
    endless, slow = [], []
    for task in facts.services.tasks():
        if task.max_retries is None:
            endless.append(task.name)
        waits = [task.retry_backoff_max if task.retry_backoff else task.default_retry_delay]
        if any(wait and float(wait) > LONGEST_SENSIBLE_BACKOFF for wait in waits):
            slow.append(f"{task.name} ({float(waits[0]):g} s)")
    if endless:
        yield Finding(
            "warning",
            "retries",
            f"{_some(endless)} retry for ever: a hopeless job never becomes a dead letter",
            "Set max_retries to a number.",
        )
    if slow:
        yield Finding(
            "warning",
            "retries",
            f"may wait longer than a day for the next attempt: {_some(slow)}",
            "retry_backoff_max is in seconds; make it smaller.",
        )


def _content(facts: _Facts) -> Iterator[Finding]:
    unsafe = sorted(UNSAFE_CONTENT & set(facts.services.celery.conf.accept_content or ()))
    if unsafe:
        yield Finding(
            "warning",
            "content",
            f"workers accept {', '.join(unsafe)}: who can write to the broker can run code in a worker",
            "Take it out of NIGHTSHIFT_CELERY['accept_content'].",
        )


def _schedule(facts: _Facts) -> Iterator[Finding]:
    try:
        entries = schedule.entries(facts.services)
    except ConfigurationError as exc:
        yield Finding("error", "schedule", str(exc), "Correct the entry: Beat does not start with it.")
        return
    known = set(facts.services.celery.tasks)
    for name, entry in sorted(entries.items()):
        task = entry["task"]
        if task not in known:
            near = difflib.get_close_matches(str(task), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "Is the module that declares it imported?"
            yield Finding("error", "schedule", f"entry {name!r} names the unknown task {task!r}", hint)


def _queues(facts: _Facts) -> Iterator[Finding]:
    """Queues that no worker consumes."""
    if not facts.overview.workers.ok:
        return
    consumed = {queue for view in facts.workers for queue in view.queues}
    named = set(facts.services.queues())
    for depth in _depths(facts):
        if depth.queue in consumed:
            continue
        waiting = depth.ready + (depth.delayed or 0)
        if waiting:
            hint = "" if depth.queue in named else near(depth.queue, consumed | named)
            message = f"{waiting} jobs wait in {depth.queue!r} and no worker consumes it.{hint}".removesuffix(
                "."
            )
            yield Finding(
                "error", "queues", message, f"Start one: `flask jobs worker --queues {depth.queue}`."
            )
        elif facts.workers and depth.queue in named:
            message = f"no worker consumes {depth.queue!r}, which the configuration or a task names"
            yield Finding(
                "warning", "queues", message, f"Start one: `flask jobs worker --queues {depth.queue}`."
            )


def _depths(facts: _Facts) -> Sequence[QueueDepth]:
    if facts.overview.queues.ok:
        return facts.overview.queues.value
    return [QueueDepth(queue, 0) for queue in facts.services.queues()]


def _workers(facts: _Facts) -> Iterator[Finding]:
    if not facts.overview.workers.ok:
        return
    for row in facts.overview.workers.value:
        if not row.healthy:
            remedy = (
                "Look at its log and restart it; if it is gone for good, it is forgotten within a day or two."
            )
            yield Finding("warning", "workers", f"{row.name}: {row.problem}", remedy)
    if not facts.workers:
        yield Finding("warning", "workers", "none is alive", "Start one: `flask jobs worker`.")
        return
    versions = sorted({view.version for view in facts.workers})
    if len(versions) > 1:
        message = f"different versions of Flask-Nightshift work together: {', '.join(versions)}"
        yield Finding("warning", "workers", message, "Finish the deployment, or restart the old ones.")
    yield Finding("ok", "workers", f"{len(facts.workers)} alive: {_some([v.name for v in facts.workers])}")


def _beat(facts: _Facts) -> Iterator[Finding]:
    from .health import BEAT_FRESH

    if not facts.overview.beat.ok:
        return
    last, alive = facts.overview.beat.value.last_tick, facts.overview.beat.value.alive
    if last is None:
        yield Finding("warning", "beat", "never seen: nothing scheduled runs", "Start it: `flask jobs beat`.")
        return
    age = max(0.0, (facts.overview.at - last).total_seconds())
    if age > BEAT_FRESH:
        yield Finding("warning", "beat", f"last tick {age:.0f} s ago", "Start it: `flask jobs beat`.")
    elif len(alive) > 1:
        message = f"{len(alive)} run, and each enqueues every entry of the schedule: {_some(alive)}"
        remedy = "Stop all but one. One that was killed is still counted for half a minute."
        yield Finding("warning", "beat", message, remedy)
    else:
        yield Finding("ok", "beat", f"last tick {age:.1f} s ago")


def _http(facts: _Facts) -> Iterator[Finding]:
    for path in hidden(facts.services.app):
        yield Finding(
            "warning",
            "http",
            f"the app has a route {path} of its own, which hides Nightshift's",
            "Set NIGHTSHIFT_URL_PREFIX to have both, or NIGHTSHIFT_HTTP_ACCESS to 'off'.",
        )
    if facts.services.settings.http_access == "open":
        yield Finding(
            "info",
            "http",
            "details of health and metrics are open to everyone who reaches the web app",
            "Unless the network is closed, set NIGHTSHIFT_HTTP_ACCESS to 'token'.",
        )


def _some(names: Iterable[str], limit: int = 5) -> str:
    listed = list(names)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


def worst(findings: Iterable[Finding]) -> str:
    """The gravest level among ``findings``."""
    order: dict[str, Any] = {"ok": 0, "info": 1, "warning": 2, "error": 3}
    return max((finding.level for finding in findings), key=lambda level: order.get(level, 0), default="ok")


__all__ = ["examine", "worst"]
