"""Redis and Valkey: kombu's ready lists, our lease transport on top, and a look from outside.

Celery publishes and consumes through a kombu transport (ours, or the stock one when
``NIGHTSHIFT_REDIS_TRANSPORT`` is ``kombu``); depths, dead letters and checks go straight to the server. The
keys are kombu's: a list per queue, and one more for each further priority.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, TypeVar

import redis
from flask import Flask

from ...config.settings import Settings
from ...domain.look_ahead import MOST_JOBS
from ...errors import BrokerUnavailable
from ...message.envelope import Envelope
from ...message.unique import Holders
from ..base import HEARD_WITHIN, MAX_TAKEN, PendingDeadLetter
from ..capabilities import Capabilities
from ..connections import MOST_IDLE, Connection, acknowledge
from ..failures import RETRY_POLICY, STEP, errors
from ..values import BrokerHealth, Finding, Place, QueueDepth
from ..virtual import VirtualBroker, prepared_message
from . import places
from .checks import findings
from .client import connect, product
from .dead_queue import take
from .delayed import RedisDelayed
from .kombu_options import transport_options
from .locks import RedisLocks
from .orders import RedisOrders
from .permissions import needed_by
from .queues import LeaseQueues, Queues
from .ticks import RedisTicks
from .transport.keys import KeySpace
from .waiting import RedisWaiting

T = TypeVar("T")

CONSUMER_STEP = 5.0
"""Seconds that a consumer waits for an answer; longer than the second for which it blocks on purpose."""
LEASES = Capabilities(
    counts_starts=True,
    delayed_by_queue=True,
    lists_delayed=True,
    most_ahead=MOST_JOBS,
    refuses_copies=True,
    holds_locks=True,
    skips_paused=True,
)
STOCK = Capabilities(keeps_delays=False)
LEASE_TRANSPORT = "flask_nightshift.transport:Transport"
LEASE_SENTINEL_TRANSPORT = "flask_nightshift.transport:SentinelTransport"


class RedisBroker(VirtualBroker):
    """One Redis or Valkey server, or a Sentinel group (``sentinel://a;sentinel://b``)."""

    _in_cluster = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._options = transport_options(settings)
        self._keys = KeySpace.of(self._options)
        self._client: redis.Redis | None = None
        self._leases = settings.redis_transport == "lease"

    @property
    def _broker_url(self) -> str:
        """What kombu connects to."""
        return self._settings.broker_url

    @property
    def capabilities(self) -> Capabilities:
        """Kombu's own transport leaves delayed jobs, and those in hand, to the workers' memories."""
        return LEASES if self._leases else STOCK

    # Celery's side

    def celery_settings(self) -> dict[str, Any]:
        """The transport and its time limits; results stay on the same server."""
        settings: dict[str, Any] = {
            "broker_url": self._broker_url,
            "broker_transport_options": {"socket_timeout": CONSUMER_STEP, **self._options},
            "broker_connection_timeout": STEP,
            "broker_pool_limit": MOST_IDLE,  # made only when so many threads publish at once; waiting has no bound
            "task_publish_retry": True,
            "task_publish_retry_policy": RETRY_POLICY,
            "result_backend": self._settings.result_backend or self._broker_url,
            "redis_socket_timeout": CONSUMER_STEP,
            "redis_socket_connect_timeout": STEP,
            "redis_retry_on_timeout": False,
        }
        if self._transport:
            settings["broker_transport"] = self._transport
        if self._tls:
            settings["broker_use_ssl"] = settings["redis_backend_use_ssl"] = self._tls
        if "master_name" in self._options:
            sentinel = {key: self._options[key] for key in ("master_name", "sentinel_kwargs")}
            settings["result_backend_transport_options"] = sentinel
        return settings

    @property
    def write_options(self) -> dict[str, Any]:
        """Transport options of connections that publish."""
        return {**self._options, "socket_timeout": STEP, "socket_connect_timeout": STEP, **RETRY_POLICY}

    @property
    def _transport(self) -> str | None:
        if not self._leases:
            return None
        return LEASE_SENTINEL_TRANSPORT if self._broker_url.startswith("sentinel:") else LEASE_TRANSPORT

    @property
    def _tls(self) -> dict[str, Any] | None:
        """Certificates are checked, unless the URL's query or ``NIGHTSHIFT_CELERY`` says otherwise."""
        given = self._settings.celery.get("broker_use_ssl")
        if isinstance(given, dict) and given:
            return given
        if given or (self._broker_url.startswith("rediss:") and "ssl_cert_reqs" not in self._broker_url):
            return {"ssl_cert_reqs": "required"}
        return None

    def _publish_some(
        self,
        channel: Any,
        envelopes: Sequence[Envelope],
        queue: str,
        once: tuple[str, int],
        *,
        from_outbox: bool = False,
        held: Holders | None = None,
    ) -> None:
        if self._leases:
            channel.publish_envelopes(envelopes, queue, once, from_outbox=from_outbox, held=held)
        else:
            super()._publish_some(channel, envelopes, queue, once)

    # settling

    def replace(self, message: Any, envelope: Envelope, queue: str, *, due: datetime | None = None) -> bool:
        """One step on the lease transport; else publish, then acknowledge."""
        if not self._leases:
            self.publish(envelope, queue, due=due)
            acknowledge(message)
            return True
        prepared = prepared_message(message.channel, envelope.due_at(due))
        try:
            at = due.timestamp() if due is not None else None
            replaced = bool(message.channel.basic_replace(message.delivery_tag, prepared, "", queue, due=at))
        except errors() as exc:
            raise self._fail(exc) from exc
        if replaced:
            message._state = "ACK"  # noqa: SLF001 - released with the write; kombu has no public way to say so
        return replaced

    def worker_begins(
        self,
        connection: Any,
        slots: int,
        window: Callable[[], int] | None,
        *,
        blocks_loop: bool = False,
    ) -> None:
        """A claim notes as begun what will begin at once, and takes what fits into the window.

        If a job ``blocks_loop``, what is in the window goes back from another thread when it does so for long.
        """
        if self._leases:
            transport = connection.transport
            transport.slots, transport.window, transport.blocks_loop = slots, window, blocks_loop

    def skip_paused(self, channel: Any, queues: frozenset[str]) -> None:
        """The claim script skips them anyway; the channel stops to wait for their doorbells."""
        if self._leases:
            channel.consumer.skip(queues)

    def last_order(self, channel: Any) -> int | None:
        """The sign of life of a lease brings it, each second."""
        lease = channel.consumer.lease if self._leases else None
        if lease is None or lease.ordered is None:
            return None
        number, at = lease.ordered
        return number if monotonic() - at < HEARD_WITHIN else None

    def worker_ends(self, channel: Any, *, crashed: bool) -> None:
        """The channel returns what is in hand, counted or not."""
        if self._leases and crashed:
            channel.crashed = True
        elif self._leases:
            channel.draining = True

    def return_unstarted(self, messages: Sequence[Any]) -> None:
        """One step for each channel, with leases."""
        if not self._leases:
            super().return_unstarted(messages)
            return
        by_channel: dict[Any, list[Any]] = {}
        for message in messages:
            by_channel.setdefault(message.channel, []).append(message)
        for channel, its in by_channel.items():
            try:
                channel.return_unstarted([message.delivery_tag for message in its])
            except errors() as exc:
                raise self._fail(exc) from exc
            for message in its:
                message._state = "REQUEUED"  # noqa: SLF001 - kombu has no public way to say so

    def begin(self, message: Any) -> bool:
        """The server is told, with leases."""
        return not self._leases or bool(message.channel.begin_delivery(message.delivery_tag))

    def holds(self, message: Any) -> bool:
        """Whether the lease is ours; kombu's own transport cannot tell."""
        return not self._leases or bool(message.channel.holds(message.delivery_tag))

    def ours_until(self, channel: Any) -> float:
        """When the lease runs out, if it is not renewed again; kombu's own transport cannot tell."""
        return channel.ours_until() if self._leases else math.inf

    # looking

    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """All four numbers with leases; with kombu's transport only ``ready`` and ``oldest``."""
        return self._ask(lambda queues_: [queues_.depth(name) for name in queues])

    def place(self, queue: str, job_id: str, due: datetime | None) -> Place:
        """With leases, where it is; kombu's own transport hides what workers hold."""
        if not self._leases:
            return super().place(queue, job_id, due)
        return self._ask(lambda queues: places.find(queues.client, self._keys, queue, job_id, due))

    def delayed(self) -> None:
        """Nothing: ``depths`` tells it by queue, and kombu's transport keeps them in workers' memories."""

    def delayed_jobs(self) -> RedisDelayed | None:
        """With leases; kombu's own transport leaves delayed jobs to the workers' memories."""
        return RedisDelayed(self._ask) if self._leases else None

    def locks(self) -> RedisLocks | None:
        """With leases."""
        return RedisLocks(self._ask) if self._leases else None

    def orders(self) -> RedisOrders:
        """On the server, with both transports."""
        return RedisOrders(self._ask)

    def ticks(self) -> RedisTicks | None:
        """With leases."""
        return RedisTicks(self._pool, self._ask) if self._leases else None

    def now(self) -> datetime:
        """``TIME``."""
        seconds, microseconds = self._ask(lambda queues: queues.client.time())
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)

    def waiting_jobs(self) -> RedisWaiting:
        """Ready jobs; with leases the delayed ones, too."""
        return RedisWaiting(self._ask)

    def purge(self, queue: str) -> int:
        """Delete the ready and the delayed jobs of ``queue``."""
        deleted: list[int] = []
        try:
            self._ask(lambda queues: queues.purge(queue, deleted.append))
        except BrokerUnavailable as exc:
            exc.acted_on = sum(deleted)
            raise
        return sum(deleted)

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters, oldest first; they stay in the list until ``done()``."""
        return self._ask(lambda queues: take(queues.client, self._keys, limit, max_bytes, self._fail))

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """PING on a new connection."""
        started = monotonic()
        try:
            step = 0.8 * timeout  # its error says more than that nobody answered in time
            with self._connected(step) as client:
                client.ping()
                latency = monotonic() - started
                name, version = product(client, cluster=self._in_cluster)
        except errors() as exc:
            raise self._fail(exc) from exc
        return BrokerHealth(name, version, latency)

    def epoch(self) -> str | None:
        """The value of a key that the first question writes."""
        return self._ask(lambda queues: queues.epoch())

    def diagnose(
        self,
        *,
        longest_time_limit: float | None,
        queues: Iterable[str],
    ) -> list[Finding]:
        """Persistence, eviction, memory, permissions; of kombu's transport its visibility timeout, not permissions."""
        try:
            visible = None if self._leases else float(self._options["visibility_timeout"])
            return self._ask(
                lambda queues_: findings(
                    queues_.client,
                    longest_time_limit,
                    visible,
                    access=needed_by(self._settings, queues_.client, queues),
                    cluster=self._in_cluster,
                )
            )
        except BrokerUnavailable as exc:
            return [Finding("error", "broker", str(exc), "Start it, or correct NIGHTSHIFT_BROKER_URL.")]

    def close(self) -> None:
        """Close this thread's connection and the client's idle ones."""
        super().close()
        if self._client is not None:
            self._client.connection_pool.disconnect(inuse_connections=False)  # other threads may be asking

    def _ask(self, question: Callable[[Queues], T]) -> T:
        try:
            if self._client is None:
                self._client = self._connected(STEP)
            queues = (LeaseQueues if self._leases else Queues)(self._client, self._keys)
            return question(queues)
        except errors() as exc:
            raise self._fail(exc) from exc

    def _connected(self, step: float) -> redis.Redis:
        """A client of the server; no network step takes longer than ``step`` seconds."""
        return connect(self._broker_url, self._options, self._tls, step)

    def _connect(self) -> Connection:
        return Connection(
            self._broker_url,
            connect_timeout=STEP,
            transport=self._transport,
            transport_options=self.write_options,
            ssl=self._tls or False,
        )


def make(settings: Settings, app: Flask) -> RedisBroker:  # noqa: ARG001 - every broker's signature
    """The broker for ``connect``."""
    return RedisBroker(settings)
