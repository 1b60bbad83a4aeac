"""Sends the job of a tick and claims the tick, in one step: in the broker, else in the database.

Redis: the script that publishes the job claims its tick. Elsewhere, and for a durable job, one transaction of ours
claims the tick and writes the job to the outbox, from which it is published at once, or by a relay. While the database
is away, jobs are published without a claim (invariant 7): then several Beats may enqueue a tick each. These copies name
the same row of an outbox, so a worker that reaches the database runs only the first.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace
from sqlalchemy import Connection

from ..domain.tick import FAR, Claim, Tick, Verdict
from ..enqueue.composed import Composed
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..message.copies import stamp_copy
from ..message.headers import DURABLE, HISTORY, MOST
from ..message.unique import to_claim
from ..services import Services
from ..store import tick_claims

T = TypeVar("T")

logger = logging.getLogger("flask_nightshift.beat")

CLAIM_SECONDS = 1.5
"""Maximum seconds for a claim in the database."""
AWAY_SECONDS = 5.0
"""Seconds for which the database is not asked again after it did not answer."""
PROBE_SECONDS = 1.0
"""Maximum seconds for asking whether a broker is back."""


class Sent(NamedTuple):
    """The answer to a tick, whose job has ``job_id`` if there is one. ``noted``: the database knows it already."""

    claim: Claim
    job_id: str | None = None
    noted: bool = False


class Claims:
    """The claims of one Beat."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._ticks = services.publishing.ticks()
        self._in_broker = services.broker.capabilities.holds_locks
        self._queues: dict[str, str] = {}
        self._away_until = 0.0
        self._broker_away = False

    def send(self, job: Composed, tick: Tick, next_at: datetime | None) -> Sent:
        """Send the ``job`` of ``tick``, if the tick is free; ``next_at`` is the entry's next one.

        Raises ``BrokerUnavailable``, and ``DatabaseUnavailable`` for a job that needs the database; the call can then
        be repeated.
        """
        durable = DURABLE in job.envelope.headers[HISTORY]
        if self._ticks is not None and not durable:
            self._queues[tick.entry] = job.queue
            claim = self._services.celery.publisher.sender.send_tick(job, tick, self._ticks)
            return Sent(claim, job.job_id)
        needs_database = durable or (to_claim(job.envelope.headers) is not None and not self._in_broker)
        try:
            return self._in_database(job, tick, next_at)
        except DatabaseUnavailable as exc:
            self._not_answered(exc)
            if needs_database:
                raise
        return self._unclaimed(job)

    def is_taken(self, tick: Tick, now: datetime) -> bool:
        """Whether ``tick`` was claimed already, by a look that changes nothing; False if nobody can tell."""
        try:
            queue = self._queues.get(tick.entry)
            if self._ticks is not None and queue is not None:
                last = self._ticks.last(queue, tick.entry)
            else:
                self._refuse_while_away()
                last = tick_claims.last_due(self._store, tick.entry, CLAIM_SECONDS)
        except (BrokerUnavailable, DatabaseUnavailable):
            return False
        return last is not None and tick.due <= last <= now + FAR

    def around(self, job_id: str, tick: Tick, publish: Callable[[], Any]) -> Sent:
        """Call ``publish``, which enqueues the job by Celery's producer, if ``tick`` is free; the database claims it.

        Such a job cannot wait in an outbox. So the tick is reserved for a few seconds, and claimed after the publish:
        if this Beat dies before, another one enqueues the job, with the same id. It is there twice if this Beat dies
        between publish and claim, or needs longer than that. Raises as ``send``.
        """
        try:
            self._refuse_while_away()
            reserved = self._ask(lambda connection: tick_claims.reserve(connection, tick))
        except DatabaseUnavailable as exc:
            self._not_answered(exc)
            publish()
            return Sent(Claim(Verdict.CLAIMED), job_id)
        if reserved.verdict is not Verdict.CLAIMED:
            return Sent(reserved, job_id, noted=True)
        try:
            publish()
        except BaseException:
            with suppress(DatabaseUnavailable):
                self._ask(lambda connection: tick_claims.give_up(connection, tick))
            raise
        try:
            self._ask(lambda connection: tick_claims.claim(connection, tick, job_id, None))
        except DatabaseUnavailable as exc:
            self._not_answered(exc)
            return Sent(reserved, job_id)
        return Sent(reserved, job_id, noted=True)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        with self._store.begin(timeout=CLAIM_SECONDS) as connection:
            return question(connection)

    def _in_database(self, job: Composed, tick: Tick, next_at: datetime | None) -> Sent:
        self._refuse_while_away()
        self._look_for_broker()
        claims: list[Claim] = []

        def allowed(connection: Connection) -> bool:
            claims.append(tick_claims.claim(connection, tick, job.job_id, next_at))
            return claims[-1].verdict is Verdict.CLAIMED

        published = self._services.outbox.keep_if(job, allowed, row_id=job.job_id, timeout=CLAIM_SECONDS)
        if claims[-1].verdict is Verdict.CLAIMED:
            self._broker_away = not published
        return Sent(claims[-1], job.job_id, noted=True)

    def _look_for_broker(self) -> None:
        """While the broker is away, claim no further ticks: ``catch_up`` decides about them when it is back."""
        if self._broker_away:
            self._services.broker.health(PROBE_SECONDS)
            self._broker_away = False

    def _refuse_while_away(self) -> None:
        if time.monotonic() < self._away_until:
            raise DatabaseUnavailable(f"{self._store.url} did not answer a moment ago")

    def _not_answered(self, exc: DatabaseUnavailable) -> None:
        if time.monotonic() >= self._away_until:
            self._away_until = time.monotonic() + AWAY_SECONDS
            logger.warning("beat.unclaimed", extra={"why": str(exc)})

    def _unclaimed(self, job: Composed) -> Sent:
        number = random.randint(2, MOST)  # noqa: S311 - distinguishes the publishes of several Beats
        headers = stamp_copy(job.envelope.headers, job.job_id, number)
        stamped = job._replace(envelope=replace(job.envelope, headers=headers))
        self._services.celery.publisher.sender.send([stamped], {})
        return Sent(Claim(Verdict.CLAIMED), job.job_id)


__all__ = ["Claims", "Sent"]
