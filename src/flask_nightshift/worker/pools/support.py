"""Our part of a pool: its class, and what a worker does for it. Each pool's module defines one ``Support``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery.utils.imports import symbol_by_name

OPEN = 2**64 - 1
"""For ``guard``: no limit."""


def _nothing(*_: Any) -> None:
    return None


def _always(_: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Support:
    """What our workers do for one pool; by default, nothing.

    ``pool`` is our pool class, which replaces Celery's, or the path of one to be imported late; None keeps Celery's.
    ``prepare_process()`` runs before the worker starts. ``keep_alive(pool, connection, fence)`` keeps kombu's
    ``connection`` open while a job blocks the event loop. ``guard(pool, starts_until)`` has jobs that wait in the pool
    start only before the moment that ``starts_until()`` returns (nanoseconds of ``CLOCK_BOOTTIME``). ``watch(pool)`` is
    called about once a second while the worker has no connection, so its event loop does not run. ``fits(worker)``:
    whether Celery's worker can use our class; if not, Celery's own is used.
    """

    pool: type | str | None = None
    prepare_process: Callable[[], None] = _nothing
    keep_alive: Callable[[Any, Any, Any], None] = _nothing
    guard: Callable[[Any, Callable[[], int]], None] = _nothing
    watch: Callable[[Any], None] = _nothing
    fits: Callable[[Any], bool] = _always

    @property
    def pool_class(self) -> type | None:
        """Our pool class, imported."""
        found: type | None = symbol_by_name(self.pool) if self.pool is not None else None
        return found


__all__ = ["Support"]
