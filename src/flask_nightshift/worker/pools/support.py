"""Our part of a pool: its class, and what a worker does for it. Each pool's module defines one ``Support``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Support:
    """What our workers do for one pool; by default, nothing.

    ``pool`` is our pool class, which replaces Celery's; None keeps Celery's. ``prepare_process()`` runs before the
    worker starts. ``keep_alive(pool, connection, fence)`` keeps kombu's ``connection`` open while a job blocks the
    event loop. ``keep_received(pool)`` surrounds the flush of the pool after the connection was lost: jobs that a child
    has received stay tracked.
    """

    pool: type | None = None
    prepare_process: Callable[[], None] = _nothing
    keep_alive: Callable[[Any, Any, Any], None] = _nothing
    keep_received: Callable[[Any], AbstractContextManager[None]] = nullcontext


__all__ = ["Support"]
