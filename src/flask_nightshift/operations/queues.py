"""Count and delete the jobs that wait in queues."""

from __future__ import annotations

from collections.abc import Iterable

from ..services import Services


def waiting(services: Services, queues: Iterable[str]) -> int:
    """The number of ready and delayed jobs in ``queues``; raises ``BrokerUnavailable``."""
    return sum(depth.ready + (depth.delayed or 0) for depth in services.broker.depths(queues))


def purge(services: Services, queue: str) -> int:
    """Delete the jobs that wait in ``queue`` for good, without dead letters; returns their number.

    Raises ``BrokerUnavailable``.
    """
    return services.broker.purge(queue)


__all__ = ["purge", "waiting"]
