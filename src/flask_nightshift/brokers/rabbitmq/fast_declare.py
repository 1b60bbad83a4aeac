"""Declarations in few round trips, within a time limit.

An empty vhost needs about 140 commands before its first delayed job. RabbitMQ executes the commands of a channel in
order and closes the channel at the first error, so it is enough to wait for the last answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..failures import left

_COMMANDS = ("exchange_declare", "exchange_bind", "queue_declare", "queue_bind")


@contextmanager
def open_channel(connection: Any) -> Iterator[Any]:
    """A new channel, closed after the block. After an error it stays open, because closing waits for the server."""
    channel = connection.channel()
    yield channel
    channel.close()


@contextmanager
def unanswered(channel: Any) -> Iterator[None]:
    """Within this block, declarations and bindings on ``channel`` do not wait for an answer.

    The next command that waits raises their errors.
    """

    def hasty(command: Any) -> Any:
        return lambda *args, **options: command(*args, **{**options, "nowait": True})

    for name in _COMMANDS:
        setattr(channel, name, hasty(getattr(channel, name)))
    try:
        yield
    finally:
        for name in _COMMANDS:
            delattr(channel, name)


@contextmanager
def within_deadline(connection: Any, step: float) -> Iterator[None]:
    """Within this block, limit the wait for each answer to ``failures.left(step)`` seconds.

    Without it, a slow server could take ``STEP`` for each of the many steps of a first publish.
    """
    wire = connection.connection
    wait = wire.drain_events

    def drain_events(timeout: float | None = None) -> Any:
        seconds = left(step)
        if seconds <= 0:
            raise TimeoutError("what is missing in the broker could not be declared in time")
        return wait(timeout=seconds if timeout is None else min(timeout, seconds))

    wire.drain_events = drain_events
    try:
        yield
    finally:
        del wire.drain_events
