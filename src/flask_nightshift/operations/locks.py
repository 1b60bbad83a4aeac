"""List and release the locks of unique jobs.

All functions raise ``BrokerUnavailable`` or, where the database holds the locks, ``DatabaseUnavailable``.
"""

from __future__ import annotations

from ..brokers.values import HeldLock
from ..services import Services


def held(services: Services, limit: int, after: str = "") -> list[HeldLock]:
    """Up to ``limit`` locks, by key, after the key ``after``."""
    return services.locks.held(limit, after)


def release(services: Services, key: str) -> HeldLock | None:
    """Release a lock, whoever holds it, so that another job can have it; None if nobody holds it.

    The job that held it is not touched: it runs, or goes on.
    """
    return services.locks.release(key)


def named(key: str) -> str:
    """How the audit names the lock ``key``: by its task, because the rest of a key may contain arguments."""
    return f"lock of {key.partition(':')[0]}"


__all__ = ["HeldLock", "held", "named", "release"]
