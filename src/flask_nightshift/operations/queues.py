"""Count and delete the jobs that wait in queues."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..domain.job import utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..services import Services
from ..store import Store, ledger
from ..text.counts import plural
from .purged import after_purge

logger = logging.getLogger("flask_nightshift.operations")


def waiting(services: Services, queues: Iterable[str]) -> int:
    """The number of ready and delayed jobs in ``queues``; raises ``BrokerUnavailable``."""
    return sum(depth.ready + (depth.delayed or 0) for depth in services.broker.depths(queues))


def purge(services: Services, queue: str) -> int:
    """Delete the jobs that wait in ``queue`` for good, without dead letters; returns their number.

    The locks of unique jobs are released, and durable jobs that have not begun are not recovered. Raises
    ``BrokerUnavailable``, or ``DatabaseUnavailable`` where the database holds the locks. The history shows the jobs as
    cancelled: what it cannot mark in some seconds, the hourly retention marks (``purged.py``).
    """
    at = utcnow()
    durable = [(store, jobs) for store in services.outboxes if (jobs := _durable(services, store, queue))]
    try:
        count = services.broker.purge(queue)
    except BrokerUnavailable as exc:
        exc.add_note(
            f"{plural(exc.acted_on or 0, 'job')} of {queue} had been deleted before. Purge it again for the rest."
        )
        raise
    try:
        services.locks.purged(queue)
        for store, jobs in durable:
            ledger.purged(store, jobs, utcnow())
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        exc.acted_on = count
        exc.add_note(
            f"{plural(count, 'job')} of {queue} had been deleted before. Purge it again for the rest."
        )
        raise
    finally:
        after_purge(services, queue, at)
    return count


def _durable(services: Services, store: Store, queue: str) -> list[ledger.Open]:
    """The durable jobs that wait in ``queue`` and have not begun; none if the database is away: a purge needs none."""
    due = None if services.broker.capabilities.lists_delayed else utcnow()
    try:
        return ledger.waiting(store, queue, due)
    except DatabaseUnavailable as exc:
        logger.warning("ledger.not_purged", extra={"queue": queue, "why": str(exc)})
        return []


__all__ = ["purge", "waiting"]
