"""The paused queues, as ``flask jobs stats``, ``health``, ``show``, ``doctor`` and ``/metrics`` show them."""

from __future__ import annotations

from ..background.loop import OUTAGES
from ..domain.orders import Pause
from ..services import Services


def seen(services: Services) -> dict[str, Pause]:
    """The paused queues, by name; raises ``BrokerUnavailable`` or ``DatabaseUnavailable``."""
    return services.orders.pauses()


def of_queue(services: Services, queue: str) -> Pause | None:
    """The pause of ``queue``; None also if that cannot be asked now."""
    try:
        return seen(services).get(queue)
    except OUTAGES:
        return None


__all__ = ["Pause", "of_queue", "seen"]
