"""The pools that run the attempts: processes, threads, one thread, greenlets.

``domain/pools.py`` lists their properties. A pool's module defines our part of it, a ``Support``, registered here.
"""

from __future__ import annotations

from typing import Any

from celery.concurrency import get_implementation

from ...domain.pools import POOLS, Pool
from . import greenlets, prefork, solo, threads
from .support import Support

SUPPORT = {
    "prefork": prefork.SUPPORT,
    "threads": threads.SUPPORT,
    "solo": solo.SUPPORT,
    "gevent": greenlets.SUPPORT,
}
"""Our part of each pool, by the pool's name. Pools that are not listed are Celery's own."""
MODULES = {"thread": "threads"}
"""Celery's modules that are called otherwise than the pool in them."""


def implementation(pool: Any) -> Any:
    """The class that runs the jobs for ``pool``: a name from ``--pool``, an import path or a class."""
    ours = support_of(pool).pool_class if isinstance(pool, str) else None
    if ours is not None:
        return ours
    kind: Any = get_implementation(pool)
    if kind.__module__.startswith("celery.concurrency."):  # a user's own pool class stays
        return support_of(pool_of(kind).name).pool_class or kind
    return kind


def fitting(kind: type, worker: Any) -> type:
    """``kind``, or Celery's own class in its place if it is ours and Celery's ``worker`` cannot use it."""
    name = pool_of(kind).name
    support = support_of(name)
    return get_implementation(name) if kind is support.pool and not support.fits(worker) else kind


def pool_of(kind: type) -> Pool:
    """The properties of the pool class ``kind``; a user's subclass has those of the pool that it extends."""
    for name, support in SUPPORT.items():
        if isinstance(support.pool, type) and issubclass(kind, support.pool):
            return POOLS[name]
    modules = [base.__module__ for base in kind.__mro__]
    celerys = [module for module in modules if module.startswith("celery.concurrency.")]
    name = (celerys or modules)[0].rpartition(".")[2]
    name = MODULES.get(name, name)
    return POOLS.get(name) or Pool(name)


def support_of(pool: str) -> Support:
    """Our part of the pool of this name."""
    return SUPPORT.get(pool) or Support()


__all__ = ["fitting", "implementation", "pool_of", "support_of"]
