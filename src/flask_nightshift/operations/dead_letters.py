"""List, replay and discard dead letters.

All functions raise ``DatabaseUnavailable``, except where they say otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .. import dead_letters
from ..dead_letters import ArchivedLetter, Filters, Result
from ..domain.job import utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..message.burial import DEAD_QUEUE
from ..services import Services
from ..store import heartbeats
from . import ids


def latest(services: Services, filters: Filters, limit: int) -> list[ArchivedLetter]:
    """Up to ``limit`` dead letters that meet ``filters``, latest death first."""
    return dead_letters.list_letters(services.store, filters, limit)


def count(services: Services, filters: Filters) -> int:
    """The number of dead letters that meet ``filters``."""
    return dead_letters.count(services.store, filters)


def unarchived(services: Services) -> int | None:
    """The number of dead letters still in the broker, which a running worker archives; None if it does not answer."""
    try:
        return sum(depth.ready for depth in services.broker.depths([DEAD_QUEUE]))
    except BrokerUnavailable:
        return None


def find(services: Services, given: str) -> ArchivedLetter:
    """The dead letter that ``given`` means: its id or its job's, or the start or end of either.

    Raises ``DeadLetterNotFound``.
    """
    return dead_letters.find(services.store, ids.letter_id(services.store, given))


def named(services: Services, given: Sequence[str]) -> Filters:
    """Filters for the dead letters that ``given`` means, each as for ``find``; raises ``DeadLetterNotFound``."""
    found = (ids.letter_id(services.store, each) for each in given)
    return Filters(ids=tuple(dict.fromkeys(found)))


def affected(services: Services, filters: Filters, limit: int | None) -> int:
    """The number of dead letters that a replay or discard with ``filters`` and ``limit`` looks at."""
    found = len(filters.ids) if filters.ids else count(services, filters)
    return min(found, limit or found)


def replay(
    services: Services,
    filters: Filters,
    *,
    limit: int | None = None,
    rate: float | None = None,
    dry_run: bool = False,
    force: bool = False,
    queue: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
    progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Run dead jobs again, with the same job ids and fresh attempts; ``dead_letters.replay`` explains the options.

    Raises ``BrokerUnavailable`` too.
    """
    return dead_letters.replay(
        services.store,
        services.broker,
        filters,
        limit=limit,
        rate=rate,
        dry_run=dry_run,
        force=force,
        queue=queue,
        sleep=sleep,
        progress=progress,
        stopped=stopped,
    )


def idle_queues(services: Services, result: Result) -> list[str]:
    """The queues of a replay that no healthy worker consumes; empty if the database does not answer."""
    try:
        rows = heartbeats.workers(services.store, utcnow())
    except DatabaseUnavailable:
        return []
    consumed = {queue for row in rows if row.healthy for queue in row.queues}
    return sorted(result.queues - consumed)


def discard(
    services: Services, filters: Filters, *, limit: int | None = None, dry_run: bool = False
) -> Result:
    """Discard dead letters that wait: they will not run, and stay in the table until they are pruned."""
    return dead_letters.discard(services.store, filters, limit=limit, dry_run=dry_run)


__all__ = [
    "ArchivedLetter",
    "Filters",
    "Result",
    "affected",
    "count",
    "discard",
    "find",
    "idle_queues",
    "latest",
    "named",
    "replay",
    "unarchived",
]
