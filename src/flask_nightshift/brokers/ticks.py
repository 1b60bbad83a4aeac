"""The interface to the ticks of schedule entries where the broker claims them when it takes their jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ..domain.tick import Claim, Tick
from ..message.envelope import Envelope
from ..message.unique import Holders


class Ticks(Protocol):
    """The ticks of schedule entries."""

    def publish(
        self, envelope: Envelope, queue: str, tick: Tick, *, due: datetime | None, held: Holders
    ) -> Claim:
        """Publish the job of ``tick`` to ``queue``, at once or delayed until ``due``, and claim the tick, or neither.

        A unique job claims its lock in the same step. If another job holds it, the tick is claimed, nothing is
        enqueued, and ``held`` gets that job's id. The server's clock decides whether the tick is due. Raises
        ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT``; the call can then be repeated.
        """

    def last(self, queue: str, entry: str) -> datetime | None:
        """The last tick of ``entry`` that was claimed, whose jobs go to ``queue``; raises ``BrokerUnavailable``."""


__all__ = ["Ticks"]
