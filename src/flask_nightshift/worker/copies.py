"""Drops a second publish of an attempt as it arrives, where the broker could not refuse it (RabbitMQ).

A thread asks the database, once for all messages that arrived together, so neither the event loop nor other jobs wait.
While the database is away, jobs run unchecked (invariant 7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from ..background.loop import Backoff, Loop, Work
from ..brokers.connections import acknowledge
from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..lifetime.forks import when_forked
from ..message.copies import Copy, copy_of, tell_duplicate
from ..services import Services
from ..store.copies import second_publishes

BACKOFF = Backoff(first=1.0, most=15.0)
"""Between two questions while the database is away."""

logger = logging.getLogger("flask_nightshift.worker.copies")


class Owner(Protocol):
    """The part of the worker's consumer that is used here."""

    hub: Any
    hostname: str
    services: Services
    receive: Callable[[Any], Any]

    def call_soon(self, call: Callable[..., Any], *args: Any) -> Any:
        """Have the event loop make the call in its next turn."""


class Copies(Work):
    """Asks which of the arrived messages are second publishes, for a worker's consumer."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._needed = not owner.services.broker.capabilities.refuses_copies
        self._loop = Loop(self, "nightshift-copies", BACKOFF)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: forget the messages, which are the parent's."""
        self._arrived: list[Any] = []

    def wants(self, message: Any) -> bool:
        """Whether ``message`` came from an outbox and is not checked yet."""
        return (
            self._needed
            and not getattr(message, "copy_checked", False)
            and copy_of(message.headers) is not None
        )

    def put(self, message: Any) -> None:
        """Check ``message`` soon; it is received again if it may run."""
        message.copy_checked = True
        if self._loop.away:
            self._owner.receive(message)
        elif self._owner.hub is None:  # green threads have no loop that another thread could wake
            self._answered([message], self._asked_here(message))
        else:
            first = not self._arrived
            self._arrived.append(message)
            if first:  # the others of this turn of the event loop come before the question
                self._owner.call_soon(self._loop.wake)

    def _asked_here(self, message: Any) -> set[Copy]:
        try:
            return second_publishes(self._owner.services.store, [_copy(message)], utcnow())
        except DatabaseUnavailable as exc:
            self._loop.outage(exc)
            self._loop.wake(BACKOFF.first)
        except Exception:  # noqa: BLE001 - the job runs all the same
            self.failed()
        return set()

    def stop(self) -> None:
        """The worker ends."""
        self._loop.stop()

    def turn(self) -> float | None:
        """Ask about what has arrived."""
        messages, self._arrived = self._arrived, []
        if not messages:
            self._owner.services.store.ping()  # the database was away; is it still?
            return None
        second: set[Copy] = set()
        try:
            second = second_publishes(self._owner.services.store, map(_copy, messages), utcnow())
        finally:
            self._owner.call_soon(self._answered, messages, second)
        return 0.0 if self._arrived else None

    def failed(self) -> None:
        """The jobs run unchecked."""
        logger.exception("copies.check_failed")

    def paused(self, why: object) -> None:
        """The database went away."""
        logger.warning("copies.unchecked", extra={"why": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.info("copies.checked_again")

    def _answered(self, messages: list[Any], second: set[Copy]) -> None:
        """In the event loop: drop second publishes, and go on with the others."""
        for message in messages:
            if message.channel is None or message.channel.connection is None:
                continue  # it comes again, over another connection
            if _copy(message) in second:
                tell_duplicate(message.headers, message.job_queue, worker=self._owner.hostname)
                acknowledge(message)
            else:
                self._owner.receive(message)


def _copy(message: Any) -> Copy:
    copy = copy_of(message.headers)
    assert copy is not None  # noqa: S101 - ``wants`` has looked
    return copy


__all__ = ["Copies"]
