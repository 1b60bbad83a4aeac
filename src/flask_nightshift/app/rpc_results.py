"""What is particular about ``rpc://`` for coroutines that wait for results."""

from __future__ import annotations

import threading
from typing import Any


def is_rpc(backend: Any) -> bool:
    """Whether ``backend`` sends results to the queue of the thread that enqueued the job (``rpc://``)."""
    return type(backend).__module__ == "celery.backends.rpc"


def serialize(consumer: Any) -> None:
    """Let one thread at a time read from ``consumer``: a coroutine's job may be read by ``get()`` in any thread."""
    lock, drain = threading.Lock(), consumer.drain_events

    def drain_events(timeout: float | None = None) -> None:
        with lock:
            drain(timeout)

    consumer.drain_events = drain_events


__all__ = ["is_rpc", "serialize"]
