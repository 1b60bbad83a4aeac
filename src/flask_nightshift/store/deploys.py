"""Deploys: when a version of the app (``NIGHTSHIFT_VERSION``) was first seen among the workers, for charts.

Each is a fact. A worker that starts records its version, unless it is that of the last deploy or another live worker
runs it; so a worker that restarts, or that joins in the middle of a deploy, makes none, and a rollback does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, select

from .store import Store
from .tables import facts, workers
from .upsert import insert

DEPLOY = "deploy "
"""The beginning of the facts' names, before the hour and the version."""
KEPT = 100
"""How many deploys are remembered."""


class Deploy(NamedTuple):
    """A version of the app, and when a worker first ran it."""

    version: str
    at: datetime


def note(store: Store, worker: str, version: str, at: datetime, fresh: datetime) -> bool:
    """Record that ``worker`` starts with ``version`` at ``at``; whether that is a deploy.

    A worker that was heard of since ``fresh`` is alive. Raises ``DatabaseUnavailable``.
    """
    others = select(workers.c.name).where(
        workers.c.app_version == version, workers.c.name != worker, workers.c.seen_at >= fresh
    )
    with store.begin() as connection:
        last = connection.execute(_deploys().limit(1)).first()
        if (last and last.value == version) or connection.execute(others.limit(1)).first():
            return False
        # of several workers that start in the same hour, one records it
        row: dict[str, Any] = {"name": f"{DEPLOY}{at:%Y-%m-%dT%H} {version}", "value": version, "at": at}
        written = connection.execute(
            insert(connection.dialect.name, facts).values(row).on_conflict_do_nothing()
        )
        old = _deploys().offset(KEPT).limit(1).subquery()
        too_old = facts.c.name.startswith(DEPLOY), facts.c.at <= select(old.c.at).scalar_subquery()
        connection.execute(delete(facts).where(*too_old))
        return bool(written.rowcount)


def since(store: Store, at: datetime) -> list[Deploy]:
    """The deploys since ``at``, the oldest first; raises ``DatabaseUnavailable``."""
    with store.read() as connection:
        rows = connection.execute(_deploys().where(facts.c.at >= at).limit(KEPT)).all()
    return [Deploy(row.value, row.at) for row in reversed(rows)]


def _deploys() -> Any:
    query = select(facts.c.value, facts.c.at).where(facts.c.name.startswith(DEPLOY))
    return query.order_by(facts.c.at.desc())


__all__ = ["KEPT", "Deploy", "note", "since"]
