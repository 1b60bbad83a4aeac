"""Pages of bulk actions, the latest first."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import InvalidKey
from ...observe.job_keys import Key
from ...observe.jobs import key_from, key_of_page
from ...services import Services
from ...store import bulk_actions as rows
from ...store.bulk_actions import BulkAction


class Page(NamedTuple):
    """Some bulk actions, and ``after``, the key with which the next page begins; None if there is none."""

    actions: list[BulkAction]
    after: str | None = None


def page(services: Services, *, limit: int = 50, after: str | None = None) -> Page:
    """Up to ``limit`` bulk actions, after the key ``after`` of a page.

    Raises ``DatabaseUnavailable``, or ``InvalidKey`` for an ``after`` that no page has given.
    """
    key = key_from(after) if after is not None else None
    if key is not None and key.at is None:
        raise InvalidKey(f"{after!r} is not the key of a page of bulk actions")
    beyond = (key.at, key.id) if key is not None and key.at is not None else None
    found = rows.latest(services.store, limit + 1, after=beyond)
    shown = found[:limit]
    return Page(shown, key_of_page(Key(shown[-1].created_at, shown[-1].id)) if len(found) > limit else None)


__all__ = ["Page", "page"]
