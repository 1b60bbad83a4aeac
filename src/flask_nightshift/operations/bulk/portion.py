"""What a worker does with one portion of a bulk action."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import Connection

from ...errors import NightshiftError
from ...outbox.relay import Relay
from ...services import Services
from ...store import bulk_actions as rows
from ...store.bulk_actions import BulkAction, Progress, Step
from .keeping import Keeper

F = TypeVar("F")
T = TypeVar("T")

SECONDS = 8.0
"""Seconds after which a portion begins nothing more."""
STEP_SECONDS = 3.0
"""A step of a portion that took longer is followed by smaller ones; after each step its progress is noted."""
FIRST_STEP = 10
"""Jobs in the first step of a portion; a step has at most twice as many as the one before."""


class Overtaken(NightshiftError):
    """Another worker has taken the portion over, so what this one did in its transaction must not count."""


class NotYet(NightshiftError):
    """The portion cannot begin now; it is tried again soon."""


class NotUnderstood(NightshiftError):
    """A newer version has started the action, and this one cannot carry it out."""


class Claim:
    """The claim of the runner ``by`` of ``worker`` on the next portion of ``action``, for ``rows.LEASE`` at a time."""

    def __init__(self, services: Services, action: BulkAction, by: str, worker: str) -> None:
        self._store = services.store
        self._action = action
        self._by, self._worker = by, worker
        self._began = monotonic()

    @property
    def over(self) -> bool:
        """Whether the portion has taken so long that it must end."""
        return monotonic() - self._began >= SECONDS

    def note(self, connection: Connection, progress: Progress, *, keep: bool) -> None:
        """Note what the portion did; with ``keep`` it goes on, else it ends. Raises ``Overtaken``."""
        paced = progress._replace(rest=max(0.0, progress.rest - (monotonic() - self._began)))
        if not rows.advance(connection, self._action, self._by, self._worker, paced, keep=keep):
            raise self._overtaken()

    def begin(self, connection: Connection, step: Step) -> None:
        """Note what the portion is about to do; raises ``Overtaken``."""
        if not rows.begin(connection, self._action.id, self._by, step):
            raise self._overtaken()

    def kept(self) -> Keeper:
        """A context in which a thread renews the claim."""
        return Keeper(lambda: rows.renew(self._store, self._action.id, self._by))

    def renew(self) -> None:
        """Begin the lease anew; raises ``Overtaken``."""
        if not rows.renew(self._store, self._action.id, self._by):
            raise self._overtaken()

    def count(self, connection: Connection) -> None:
        """Count one more in a transaction that makes it final, and begin the lease anew; never raises ``Overtaken``."""
        rows.count(connection, self._action.id, self._by, 1)

    def _overtaken(self) -> Overtaken:
        return Overtaken(f"another worker carries out the bulk action {self._action.id}")


@dataclass(frozen=True, slots=True)
class Portion:
    """The next portion of ``action``: up to ``size`` jobs or dead letters. ``relay`` publishes what it enqueues."""

    services: Services
    action: BulkAction
    size: int
    relay: Relay
    claim: Claim

    def finish(self, connection: Connection, progress: Progress) -> None:
        """End the portion in a transaction; raises ``Overtaken``, and then the transaction must not commit."""
        self.claim.note(connection, progress, keep=False)

    def finish_alone(self, progress: Progress) -> None:
        """``finish`` in a transaction of its own."""
        with self.services.store.begin() as connection:
            self.finish(connection, progress)

    def begin(self, step: Step) -> None:
        """Note what is about to be done, and renew the claim; raises ``Overtaken``.

        A worker that takes the portion over before the next ``note`` does it again (``repeated.py``).
        """
        with self.services.store.begin() as connection:
            self.claim.begin(connection, step)

    def note(self, progress: Progress) -> None:
        """Note what was done until now, and renew the claim; raises ``Overtaken``."""
        with self.services.store.begin() as connection:
            self.claim.note(connection, progress, keep=True)

    def steps(self, found: Sequence[T]) -> Iterator[Sequence[T]]:
        """Parts of ``found`` that take some seconds each, until the portion is ``over``; at least one."""
        at, size = 0, FIRST_STEP
        while at < len(found) and not (at and self.claim.over):
            began = monotonic()
            yield found[at : at + size]
            at += size
            size = size * 2 if monotonic() - began < STEP_SECONDS else max(1, size // 2)


def restored(kind: type[F], values: Mapping[str, Any]) -> F:
    """The filters that a row has as plain values; raises ``NotUnderstood`` for a condition that ``kind`` lacks."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := values.keys() - known:
        raise NotUnderstood(f"this version does not know the conditions {', '.join(sorted(unknown))}")
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


__all__ = ["Claim", "NotUnderstood", "NotYet", "Overtaken", "Portion", "restored"]
