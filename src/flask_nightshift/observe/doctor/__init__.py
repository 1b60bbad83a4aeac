"""``flask jobs doctor``: check the setup against the live broker and database.

To add a check, write one function with ``@looks`` or ``@asks`` (see ``check.py``) and name it in ``CHECKS``. Each
finding that is not ``ok`` says how to mend it. Levels: ``error`` (jobs do not run, or can be lost), ``warning`` (will
cause trouble one day), ``info`` (worth knowing), ``ok``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from ...brokers.values import Finding
from ...services import Services
from .. import bounded_calls
from .. import overview as inspector
from ..bounded_calls import Answer
from . import configuration, dashboard, database, elsewhere, outbox, pauses, schedule, servers
from .app_migrations import app_migrations
from .check import Check, Seen

DOCTOR_SECONDS = 8.0
"""Maximum seconds for all questions to the broker and the database."""

CHECKS: tuple[Check, ...] = (
    configuration.libraries,
    configuration.settings,
    elsewhere.settings_of_others,
    elsewhere.base_classes,
    configuration.history,
    servers.broker,
    servers.diagnosis,
    app_migrations,
    database.database,
    database.migrations,
    outbox.outbox_migrations,
    database.missing_tables,
    database.missing_indexes,
    outbox.outbox_indexes,
    database.rights,
    database.refused_records,
    database.parked_letters,
    database.shared_sqlite,
    outbox.outbox,
    outbox.outbox_formats,
    configuration.time_limits,
    configuration.retries,
    configuration.request_context,
    configuration.content,
    configuration.schedule,
    schedule.paused_entries,
    servers.queues,
    servers.workers,
    pauses.paused,
    pauses.unheeded,
    servers.beat,
    configuration.http,
    dashboard.dashboard,
)
"""All checks, in the order of their findings."""

_UNASKED = Answer(None, None, 0.0, 0.0)


def examine(services: Services, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """All findings, in the order of ``checks``; never raises for a broker or database that is down."""
    checks = tuple(checks)
    answers = _ask(services, checks)
    seen = Seen(services, inspector.overview(services, timeout=DOCTOR_SECONDS / 2))
    return [
        finding
        for check in checks
        if check.needs is None or answers[check.needs.name].ok
        for finding in check.finds(seen, answers.get(check.name, _UNASKED))
    ]


def _ask(services: Services, checks: Iterable[Check]) -> dict[str, Answer]:
    """The answers to all questions, by the names of their checks."""
    questions = {
        f"doctor-{check.name}": partial(check.question, services)
        for check in checks
        if check.question is not None
    }
    answers = bounded_calls.of(services).gather(questions, timeout=DOCTOR_SECONDS)
    return {name.removeprefix("doctor-"): answer for name, answer in answers.items()}


def worst(findings: Iterable[Finding]) -> str:
    """The gravest level among ``findings``."""
    order: dict[str, Any] = {"ok": 0, "info": 1, "warning": 2, "error": 3}
    return max((finding.level for finding in findings), key=lambda level: order.get(level, 0), default="ok")


__all__ = ["CHECKS", "examine", "worst"]
