"""Pages of the audit, the latest actions first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..services import Services
from ..store import audit as rows
from ..store import bulk_actions as bulk_rows
from ..store.audit import BEGUN, CANCELLED, DONE, FAILED, OUTCOMES, Row
from .job_keys import Key
from .jobs import key_from, key_of_page

MOST = 1_000
"""Maximum number of actions on a page."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that an action meets, all of them; ``since`` is inclusive, ``until`` is not."""

    by: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some actions, the latest first, and ``after``, the key with which the next page begins; None if there is none."""

    actions: list[Row] = field(default_factory=list)
    after: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The page in plain JSON types."""
        return {"actions": [row.as_dict() for row in self.actions], "after": self.after}


def page(
    services: Services, filters: Filters | None = None, *, limit: int = 50, after: str | None = None
) -> Page:
    """Up to ``limit`` actions (at most ``MOST``) that meet ``filters``, after the key ``after`` of a page.

    Raises ``DatabaseUnavailable``, or ``InvalidKey`` for an ``after`` that no page has given.
    """
    wanted, limit = filters or Filters(), max(1, min(limit, MOST))
    found = rows.latest(
        services.store,
        by=wanted.by,
        action=wanted.action,
        since=wanted.since,
        until=wanted.until,
        after=_key(after),
        limit=limit + 1,
    )
    more = len(found) > limit
    last = found[limit - 1] if more else None
    return Page(found[:limit], key_of_page(Key(last.at, last.id)) if last else None)


def actors(services: Services) -> list[str]:
    """The names of those who acted, by name; raises ``DatabaseUnavailable``."""
    return rows.actors(services.store)


def verbs(services: Services) -> list[str]:
    """The actions that were recorded, by name; raises ``DatabaseUnavailable``."""
    return rows.verbs(services.store)


def bulk_actions(services: Services, ids: Collection[str]) -> set[str]:
    """Those of ``ids`` that are bulk actions; raises ``DatabaseUnavailable``."""
    return bulk_rows.present(services.store, ids)


def _key(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    key = key_from(after)
    return (key.at, key.id) if key.at is not None else None


__all__ = [
    "BEGUN", "CANCELLED", "DONE", "FAILED", "OUTCOMES", "Filters", "Page", "Row", "actors", "bulk_actions", "page",
    "verbs",
]  # fmt: skip
