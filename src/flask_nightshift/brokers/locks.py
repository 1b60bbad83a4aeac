"""The interface to the locks of unique jobs: in the broker where it can hold them, else in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from ..message.envelope import Envelope
from ..message.unique import Holders, Lock
from .values import HeldLock


class Locks(Protocol):
    """The locks of unique jobs."""

    def begin(self, message: Any, lock: Lock) -> str:
        """The job of the delivered ``message`` begins: from now on no other job can replace it.

        Releases a lock that is kept until the job has started. Returns '' if the job may begin, or the id of the job
        that replaced it. Raises one of the broker's ``errors``; then the job must not begin.
        """

    def claim(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        due: datetime | None,
        held: Holders,
        *,
        from_outbox: bool,
    ) -> list[Envelope]:
        """Claim the locks of unique jobs among ``envelopes``, which are about to be published to ``queue``.

        Returns those to publish; ``held`` gets the holders of the locks that were taken. Changes nothing if the publish
        itself claims them. ``from_outbox``: they wait in an outbox already. Raises ``DatabaseUnavailable``.
        """

    def published(self, envelopes: Sequence[Envelope]) -> None:
        """The broker has these jobs, which ``claim`` returned."""

    def postponed(self, envelopes: Sequence[Envelope], why: BaseException) -> bool:
        """The broker does not take these jobs, which ``claim`` returned, because of ``why``.

        Returns True if they are published later; else their locks are released.
        """

    def settled(self, lock: Lock) -> None:
        """The job will not run again: release the lock if the job holds it, unless the settlement itself does that."""

    def step(self, begun: Sequence[Lock], settled: Sequence[Lock]) -> dict[str, str]:
        """``begin`` of some jobs and ``settled`` of others together, where neither is part of a step of the broker's.

        Returns, by job id, the ids of the jobs that replaced some of those that ``begun``.
        """

    def cancelled(self, job_ids: Sequence[str]) -> None:
        """These jobs were cancelled: release their locks, but those of jobs that have begun, unless the step that
        removes or settles a job does that. Raises as ``held``.
        """

    def purged(self, queue: str) -> None:
        """The jobs that waited in ``queue`` were deleted: release their locks, unless the purge itself does that."""

    def replaced_by(self, job_id: str) -> str:
        """The job that replaced the unique job ``job_id`` before it began; '?' if it is unknown, '' if none did.

        Raises as ``held``.
        """

    def held(self, limit: int, after: str = "") -> list[HeldLock]:
        """Up to ``limit`` locks, by key, after the key ``after``.

        Raises ``BrokerUnavailable`` or ``DatabaseUnavailable``.
        """

    def release(self, key: str) -> HeldLock | None:
        """Release a lock for an operator, whoever holds it; None if nobody does. Raises as ``held``."""


class LocksInBroker:
    """What is left of ``Locks`` where the publish claims a lock and the settlement releases it: nothing to do."""

    def claim(
        self,
        envelopes: Sequence[Envelope],
        queue: str,  # noqa: ARG002 - the Protocol's
        due: datetime | None,  # noqa: ARG002
        held: Holders,  # noqa: ARG002
        *,
        from_outbox: bool,  # noqa: ARG002
    ) -> list[Envelope]:
        """Do nothing: the publish claims them."""
        return list(envelopes)

    def published(self, envelopes: Sequence[Envelope]) -> None:
        """Do nothing."""

    def postponed(self, envelopes: Sequence[Envelope], why: BaseException) -> bool:  # noqa: ARG002
        """Return False: a job that is not published holds no lock."""
        return False

    def settled(self, lock: Lock) -> None:
        """Do nothing: the step that acknowledges or buries the job releases its lock."""

    def step(self, begun: Sequence[Lock], settled: Sequence[Lock]) -> dict[str, str]:  # noqa: ARG002
        """Do nothing: the broker's own steps do it."""
        return {}

    def cancelled(self, job_ids: Sequence[str]) -> None:
        """Do nothing: the step that removes or settles a job releases its lock."""

    def purged(self, queue: str) -> None:
        """Do nothing: the purge releases the locks."""


__all__ = ["Locks", "LocksInBroker"]
