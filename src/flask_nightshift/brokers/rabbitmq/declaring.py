"""Declarations in few round trips and in bounded time.

An empty vhost needs about 140 commands before its first delayed job. RabbitMQ does the commands of one channel in their
order and closes the channel at the first that fails, so only the last one need be waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..failures import left

_COMMANDS = ("exchange_declare", "exchange_bind", "queue_declare", "queue_bind")


@contextmanager
def open_channel(connection: Any) -> Iterator[Any]:
    """A new channel, closed at the end unless something failed: closing waits for the server's answer."""
    channel = connection.channel()
    yield channel
    channel.close()


@contextmanager
def unanswered(channel: Any) -> Iterator[None]:
    """Within this block declarations and bindings on ``channel`` are sent and not waited for.

    What goes wrong is raised by the next command that is waited for.
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
def in_time(connection: Any, step: float) -> Iterator[None]:
    """Within this block each answer is waited for as long as ``failures.left(step)`` says, however many there are.

    Else a slow server could take ``STEP`` for each of the steps that a first publish needs.
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
