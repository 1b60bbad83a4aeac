"""One-time links into the dashboard: each opens it once, whichever web process it reaches."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete

from ..domain.job import utcnow
from ..services import Services
from ..store.tables import facts
from ..store.upsert import insert

KEPT = timedelta(days=1)
"""How long a used link is remembered; it is valid for a much shorter time."""
USED = "dashboard link "
"""The beginning of the facts' names, before the link's id."""


def claim(services: Services, link_id: str) -> bool:
    """Whether this is the first use of the link; raises ``DatabaseUnavailable``."""
    now = utcnow()
    values = {"name": USED + link_id, "value": "used", "at": now}
    with services.store.begin() as connection:
        old = facts.c.name.startswith(USED, autoescape=True) & (facts.c.at < now - KEPT)
        connection.execute(delete(facts).where(old))
        statement = insert(connection.dialect.name, facts).values(values).on_conflict_do_nothing()
        return bool(connection.execute(statement).rowcount)


__all__ = ["claim"]
