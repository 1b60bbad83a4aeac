"""Plan, start, find and cancel bulk actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from ...config.queue_names import queue_name
from ...dead_letters import Filters as LetterFilters
from ...domain.actor import Actor
from ...domain.job import utcnow
from ...enqueue.ids import new_id
from ...errors import BulkActionEnded, BulkActionNotFound, ConfigurationError, Unsupported
from ...observe.jobs import Filters as JobFilters
from ...observe.jobs import key_from
from ...services import Services
from ...store import audit as audit_rows
from ...store import bulk_actions as rows
from ...store.bulk_actions import BulkAction, Position
from ...text.counts import plural
from ...text.passwords import HIDDEN
from .. import audit, ids, orders
from ..pauses import operator
from . import jobs, letters

REPLAY, DISCARD, CANCEL, RUN = "replay", "discard", "cancel", "run"
MOST_OPEN = 100
"""Bulk actions that may be open at the same time."""
FASTEST, SLOWEST = 10_000.0, 1 / 86_400
"""Jobs per second: the bounds of a rate."""


class Kind(NamedTuple):
    """What an action is about; ``rate``: its default, in jobs per second. ``options`` are the names that it knows."""

    noun: str
    rate: float
    options: frozenset[str] = frozenset()


ACTIONS: Mapping[str, Kind] = MappingProxyType(
    {
        REPLAY: Kind("dead letter", 100.0, frozenset({"queue", "force"})),
        DISCARD: Kind("dead letter", 1000.0),
        CANCEL: Kind("job", 1000.0, frozenset({"kill"})),
        RUN: Kind("delayed job", 100.0),
    }
)
"""The actions, by their verbs; each verb is also the permission that it needs."""
_FORCED = {"force": "also discarded ones and messages that are no jobs", "kill": "killing those that run"}
"""What the audit says of an option that makes an action harsher."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A dry run: ``action`` would act on ``total`` jobs or dead letters, up to ``last`` by time and id."""

    action: str
    filters: LetterFilters | JobFilters
    total: int
    last: Position | None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counted(self) -> str:
        """``12 dead letters``, for people."""
        return plural(self.total, ACTIONS[self.action].noun)


def plan(
    services: Services,
    action: str,
    filters: LetterFilters | JobFilters,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Count what ``action`` would act on, and fix the set.

    ``replay`` and ``discard`` take filters of dead letters, ``cancel`` and ``run`` filters of jobs. ``options``: of a
    replay ``queue`` and ``force``, of a cancellation ``kill``. Raises ``ConfigurationError`` for what an action does
    not know, ``Unsupported`` for ``run`` where delayed jobs cannot be reached, and ``DatabaseUnavailable``.
    """
    wanted = {name: value for name, value in (options or {}).items() if value not in (None, False)}
    _check(action, filters, wanted)
    if isinstance(filters, LetterFilters):
        total, last = letters.extent(services, filters, force=bool(wanted.get("force")))
    else:
        total, last = jobs.extent(services, action, filters)
    return Plan(action, filters, total, last, wanted)


def start(
    services: Services,
    planned: Plan,
    *,
    by: Actor | str | None,
    why: str | None = None,
    rate: float | None = None,
) -> BulkAction:
    """Have workers carry out ``planned``, at most ``rate`` per second; they begin within seconds.

    ``by`` defaults to the user and the host of this process. The action is recorded in the audit under its own id.
    Raises ``ConfigurationError`` for a wrong rate, ``Unsupported`` if too many are open, and ``DatabaseUnavailable``.
    """
    _check(planned.action, planned.filters, planned.options)
    if rate is not None and not SLOWEST <= rate <= FASTEST:
        raise ConfigurationError("rate", rate, f"use one a day to {FASTEST:,.0f} per second")
    if len(rows.latest(services.store, MOST_OPEN, only_open=True)) >= MOST_OPEN:
        raise Unsupported(f"{MOST_OPEN} bulk actions are open already: wait for some, or cancel some")
    now = utcnow()
    who = by.name if isinstance(by, Actor) else by or operator()
    action = BulkAction(
        id=new_id(),
        action=planned.action,
        filters={name: value for name, value in asdict(planned.filters).items() if value is not None},
        options=planned.options,
        by=who,
        why=(why or "").strip()[: audit.LONGEST_REASON] or None,
        rate=rate or ACTIONS[planned.action].rate,
        total=planned.total,
        last=planned.last,
        state=rows.WAITING,
        created_at=now,
        due_at=now,
    )
    told = audit_rows.Row(action.id, now, who, action.action, about(action), action.why)
    with services.store.begin() as connection:
        rows.create(connection, action)
        audit_rows.write_with(connection, told)
    orders.announce(services)
    return action


def find(services: Services, given: str) -> BulkAction:
    """The bulk action that ``given`` means: an id, its start or its end; raises ``BulkActionNotFound``."""
    found = rows.find(services.store, given, 6) if given.strip() else []
    problem = ids.problem(
        "bulk action", given, [each.id for each in found], "'flask jobs bulk list' shows them"
    )
    if problem:
        raise BulkActionNotFound(problem)
    return found[0]


def latest(services: Services, limit: int = 50, *, only_open: bool = False) -> list[BulkAction]:
    """Up to ``limit`` bulk actions, the latest first; raises ``DatabaseUnavailable``."""
    return rows.latest(services.store, limit, only_open=only_open)


def cancel(services: Services, given: str) -> BulkAction:
    """End the bulk action that ``given`` means; what it has done stays done. A portion that has begun is finished.

    Raises ``BulkActionNotFound`` or ``BulkActionEnded``.
    """
    action = find(services, given)
    with services.store.begin() as connection:
        ended = rows.end(connection, action.id, rows.CANCELLED)
    if ended is None:
        action = find(services, action.id)
        raise BulkActionEnded(f"the bulk action {action.id} has ended before: it is {action.state}")
    return ended


def about(action: BulkAction, *, texts: bool = False) -> str:
    """What the action is about, for people: ``dead letters with task=mail.send``, and what is forced.

    ``texts``: also the texts of its search, which may be arguments of jobs, so not everybody may see them.
    """
    named = _about(action.action, shown_filters(action.filters, texts=texts))
    return ", ".join([named, *(said for name, said in _FORCED.items() if action.options.get(name))])


def shown_filters(filters: Mapping[str, Any], *, texts: bool) -> dict[str, Any]:
    """``filters`` with ``***`` for the texts of a search, unless the reader may see ``texts``."""
    hidden = {"search": HIDDEN} if not texts and filters.get("search") else {}
    return {**filters, **hidden}


def about_filters(action: str, filters: LetterFilters | JobFilters) -> str:
    """What ``action`` with ``filters`` would be about, for people."""
    return _about(action, {name: value for name, value in asdict(filters).items() if value is not None})


def position(text: str) -> Position:
    """The place that a form has as ``time,id``; raises ``InvalidKey``."""
    return Position(*key_from(text))


def _about(action: str, filters: Mapping[str, Any]) -> str:
    noun = f"{ACTIONS[action].noun}s" if action in ACTIONS else action
    conditions = {name: value for name, value in filters.items() if name != "status"}
    if named := conditions.pop("ids", None):
        return audit.named(noun[:-1], list(named))
    if isinstance(searched := conditions.get("search"), (list, tuple)):
        conditions["search"] = " ".join(searched)
    return audit.matching(noun, conditions)


def _check(action: str, filters: object, options: Mapping[str, Any]) -> None:
    if action not in ACTIONS:
        raise ConfigurationError("action", action, f"use one of {', '.join(ACTIONS)}")
    fits = LetterFilters if action in (REPLAY, DISCARD) else JobFilters
    if not isinstance(filters, fits):
        raise ConfigurationError(
            "filters", type(filters).__name__, f"{action} acts on {ACTIONS[action].noun}s"
        )
    if (queue := options.get("queue")) is not None:
        queue_name("queue", queue)
    for unknown in sorted(options.keys() - ACTIONS[action].options):
        raise ConfigurationError(
            "options", unknown, f"{action} knows {sorted(ACTIONS[action].options) or 'none'}"
        )


__all__ = [
    "ACTIONS", "CANCEL", "DISCARD", "REPLAY", "RUN", "BulkAction", "Plan", "Position", "about", "about_filters",
    "cancel", "find", "latest", "plan", "position", "start",
]  # fmt: skip
