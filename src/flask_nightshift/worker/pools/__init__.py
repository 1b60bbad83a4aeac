"""What runs the attempts: processes, one thread, greenlets. ``domain/pools.py`` says what each can do."""

from __future__ import annotations

from typing import Any

from celery.concurrency import prefork, solo

from ...domain.pools import POOLS, Pool
from .prefork import JobPool
from .solo import JobSolo

OURS: dict[type, type] = {prefork.TaskPool: JobPool, solo.TaskPool: JobSolo}
"""The pools that stand in for Celery's; the others are Celery's own."""


def pool_of(kind: type) -> Pool:
    """What the pool class ``kind`` can do; a user's own can what the Celery pool that it is made from can."""
    kinds = [base.__module__ for base in kind.__mro__]
    celerys = [name for name in kinds if name.startswith("celery.concurrency.")]
    name = (celerys or kinds)[0].rpartition(".")[2]
    return POOLS.get(name) or Pool(name)


def keep_alive(pool: Any, connection: Any, fence: Any) -> None:
    """Have our ``pool`` keep kombu's ``connection`` open while a job blocks the loop, and tell ``fence`` meanwhile."""
    if isinstance(pool, JobSolo):
        pool.keep_alive(connection, fence)


__all__ = ["OURS", "JobPool", "JobSolo", "keep_alive", "pool_of"]
