"""The relay: publishes the rows that stayed in an outbox, because a process ended or the broker was away.

Every worker and every Beat has one for each database. A relay claims rows in a short transaction, publishes them with
no transaction open, then deletes them (invariant 1). What it leaves claimed when it dies, another one takes over; the
publish number of a row makes a second publish recognisable.

Relays share the work without knowing of each other: one that finds its rows taken looks at fewer, and less often.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

from ..background.loop import Backoff, Loop, Work
from ..brokers.base import Broker
from ..brokers.locks import Locks
from ..domain.events import JobDied, JobEnqueued, JobSkipped
from ..domain.job import DeadLetter, Failure, Reason, utcnow
from ..errors import BrokerUnavailable
from ..message import burial
from ..message.arguments import shown_arguments
from ..message.envelope import Envelope
from ..message.headers import DEAD, DURABLE, HISTORY, ref
from ..message.relations import relations_in
from ..message.unique import Holders
from ..store import Store
from ..unique import DUPLICATE, publish
from . import claims
from .rows import Row
from .sightings import Sightings

LOOK_EVERY = 5.0
"""Seconds between two looks."""
CHUNK = 500
"""The maximum number of rows that are claimed at once."""
FEW, MANY = 2_000, 20_000
"""The number of rows that a look sees at first, and after looks that were full."""
RARELY = 6
"""How many times rarer a relay looks that other relays leave no rows."""
BACKOFF = Backoff(first=1.0, most=15.0)
"""Between two attempts while the broker or the database is away, or a queue refuses."""

logger = logging.getLogger("flask_nightshift.outbox")


class Parcel(NamedTuple):
    """A claimed row with its message."""

    row: Row
    envelope: Envelope


class Relay(Work):
    """The relay of one outbox. ``emit`` is told of jobs; ``bury`` stores a dead letter, idempotently."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        locks: Locks,
        *,
        emit: Callable[[Any], object],
        bury: Callable[[DeadLetter], object],
        name: str,
    ) -> None:
        self._store = store
        self._broker = broker
        self._locks = locks
        self._emit = emit
        self._bury = bury
        self._name = f"{name}.{secrets.token_hex(4)}"
        self._sightings = Sightings()
        self._look_at = 0.0
        self._window = FEW
        self._rarely = 1
        self._stuck: dict[
            str, tuple[int, float]
        ] = {}  # queue: failures in a row, and until when to leave it alone
        self._others_told = False
        self._loop = Loop(self, "nightshift-relay", BACKOFF)

    @property
    def name(self) -> str:
        """The name under which it claims rows."""
        return self._name

    @property
    def store(self) -> Store:
        """The database of its outbox."""
        return self._store

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self._loop.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after its current batch, and wait up to ``timeout`` seconds for its end."""
        self._loop.stop(timeout)

    def turn(self) -> float:
        """Look if it is time to, and publish the next batch; returns the seconds until the next turn."""
        if monotonic() >= self._look_at:
            self._look()
        seen = self._sightings.take(monotonic(), 1 if self._loop.away else CHUNK)
        if seen:
            rows = claims.claim(self._store, seen, self._name)
            self._share(len(rows), len(seen))
            self.publish(rows)
            return 0.0
        return max(0.0, self._look_at - monotonic())

    def _look(self) -> None:
        now = monotonic()
        stuck = [queue for queue, (_, until) in self._stuck.items() if now < until]
        found = claims.look(self._store, self._window, stuck)
        self._sightings.look(found, now)
        if len(found) == self._window:
            self._window = min(self._window * 4, MANY)
        elif not found:
            self._window = FEW
            self._tell_of_others()
        self._look_at = now + LOOK_EVERY * self._rarely * random.uniform(1.0, 1.2)  # noqa: S311 - no secret

    def _share(self, got: int, wanted: int) -> None:
        """Leave the work to other relays if they took most of what this one wanted."""
        if got < wanted / 2:
            self._window = FEW
            self._rarely = min(self._rarely + 1, RARELY)
        else:
            self._rarely = 1

    def _tell_of_others(self) -> None:
        """Say once that rows of another version are left alone."""
        count = 0 if self._others_told else claims.of_other_formats(self._store)
        if count:
            self._others_told = True
            logger.warning("outbox.unknown_format", extra={"rows": count, "why": claims.OTHER_VERSION})

    # -- one batch ---------------------------------------------------------------------------------------------

    def publish(self, rows: Sequence[Row]) -> int:
        """Publish claimed rows; returns their number, without those that wait because their queue refuses them.

        Raises ``BrokerUnavailable`` if the broker is away, with the rest given back.
        """
        done: list[Row] = []
        try:
            for parcels in _groups(self._opened(rows, done)):
                self._publish_group(parcels, done)
        finally:
            if done:
                claims.settle(self._store, done)
            if len(done) < len(rows):
                published = {row.id for row in done}
                claims.release(self._store, [row for row in rows if row.id not in published], self._name)
        return len(done)

    def _opened(self, rows: Sequence[Row], done: list[Row]) -> list[Parcel]:
        """The rows with their messages; one that cannot be read becomes a dead letter."""
        parcels = []
        for row in rows:
            try:
                parcels.append(Parcel(row, row.envelope()))
            except ValueError as exc:
                past = {DURABLE: row.id, "run": row.run} if row.durable else {}
                headers = {"id": row.job_id, "task": row.task, HISTORY: past}
                self._set_aside(row, Envelope(row.message, headers), exc)
                done.append(row)
        return parcels

    def _publish_group(self, parcels: Sequence[Parcel], done: list[Row]) -> None:
        """Publish messages of one queue; if the broker takes none for it and is there, leave that queue for a while."""
        queue = parcels[0].row.queue
        try:
            self._publish(parcels, done)
        except BrokerUnavailable as exc:
            self._broker.health()  # raises if it is away
            failures = self._stuck.get(queue, (0, 0.0))[0] + 1
            self._stuck[queue] = failures, monotonic() + max(LOOK_EVERY, BACKOFF.seconds(failures))
            logger.warning("outbox.queue_refuses", extra={"queue": queue, "error": str(exc)})
        else:
            self._stuck.pop(queue, None)

    def _publish(self, parcels: Sequence[Parcel], done: list[Row]) -> None:
        """Publish messages of one queue, time and priority; what the broker refuses alone becomes a dead letter."""
        row, at, count = parcels[0].row, utcnow(), 0
        envelopes = [parcel.envelope for parcel in parcels]
        held: Holders = {}
        try:
            for confirmed in publish(
                self._broker, self._locks, envelopes, row.queue, row.due_at, held, from_outbox=True
            ):
                self._told(parcels[count : count + confirmed], at, done, held)
                count += confirmed
        except BrokerUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - its content, because an outage has a name
            rest = parcels[count:]
            if len(rest) == 1:
                self._set_aside(rest[0].row, rest[0].envelope, exc)
                done.append(rest[0].row)
                return
            middle = len(rest) // 2
            self._publish(rest[:middle], done)
            self._publish(rest[middle:], done)

    def _told(self, parcels: Sequence[Parcel], at: datetime, done: list[Row], held: Holders) -> None:
        for row, envelope in parcels:
            done.append(row)
            headers = envelope.headers
            job = ref(headers, row.queue)
            if (holder := held.get(job.job_id)) is not None:
                awaited = not headers.get("ignore_result")
                self._emit(JobSkipped(job, at, holder, DUPLICATE, awaited=awaited))
                continue
            enqueued_at = job.enqueued_at or at
            args, kwargs = shown_arguments(headers)
            self._emit(JobEnqueued(job, enqueued_at, args, kwargs, row.due_at, relations_in(envelope)))

    def _set_aside(self, row: Row, envelope: Envelope, why: Exception) -> None:
        """Make a dead letter of a message that no broker takes; raises ``DatabaseUnavailable``."""
        failure, at = Failure.of(why).because("the broker takes no such message from the outbox"), utcnow()
        headers = burial.buried(
            envelope.headers,
            reason=Reason.INVALID,
            failure=failure,
            queue=row.queue,
            worker=self._name,
            at=at,
        )
        headers[DEAD]["id"] = row.id  # so that burying it again changes nothing
        self._bury(
            burial.dead_letter(
                envelope.body, headers, envelope.properties, envelope.content_type, envelope.content_encoding
            )
        )
        self._emit(JobDied(ref(headers, row.queue), at, self._name, None, failure, Reason.INVALID))

    # -- what the loop tells -----------------------------------------------------------------------------------

    def failed(self) -> None:
        """The next turn may succeed."""
        logger.exception("outbox.relay_failed")

    def paused(self, why: object) -> None:
        """The broker or the database is away."""
        logger.warning("outbox.relay_paused", extra={"error": str(why)})

    def resumed(self) -> None:
        """Both are back."""
        logger.warning("outbox.relay_resumed")


def _groups(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """The messages that one publish takes: of one queue, time and priority; in the order of their first."""
    groups: dict[Any, list[Parcel]] = {}
    for parcel in parcels:
        key = parcel.row.queue, parcel.row.due_at, parcel.envelope.properties.get("priority")
        groups.setdefault(key, []).append(parcel)
    yield from groups.values()


__all__ = ["Relay"]
