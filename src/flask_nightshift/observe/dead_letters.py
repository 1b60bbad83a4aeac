"""Pages of dead letters, the latest death first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .. import dead_letters
from ..dead_letters import ArchivedLetter, Filters
from ..errors import InvalidKey
from ..services import Services
from .job_keys import Key
from .jobs import key_from, key_of_page


@dataclass(frozen=True, slots=True)
class Page:
    """Some dead letters, and ``after``, the key with which the next page begins; None if there is none."""

    letters: list[ArchivedLetter]
    after: str | None = None


def page(services: Services, filters: Filters, *, limit: int = 50, after: str | None = None) -> Page:
    """Up to ``limit`` dead letters that meet ``filters``, after the key ``after`` of a page.

    Raises ``DatabaseUnavailable``, or ``InvalidKey`` for an ``after`` that no page has given.
    """
    found = dead_letters.list_letters(services.store, filters, limit + 1, _beyond(after))
    shown = found[:limit]
    last = shown[-1].letter if len(found) > limit else None
    return Page(shown, key_of_page(Key(last.at, last.id)) if last else None)


def _beyond(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    key = key_from(after)
    if key.at is None:
        raise InvalidKey(f"{after!r} is not the key of a page of dead letters")
    return key.at, key.id


__all__ = ["Page", "page"]
