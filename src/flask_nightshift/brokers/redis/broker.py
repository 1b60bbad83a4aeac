"""Redis and Valkey: kombu's ready lists, our lease transport on top, and a look from outside.

Celery publishes and consumes through a kombu transport (ours, or the stock one when
``NIGHTSHIFT_REDIS_TRANSPORT`` is ``kombu``); depths, dead letters and checks go straight to the server. The
keys are kombu's: a list per queue, and one more for each further priority.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

import redis
from flask import Flask
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...config.settings import Settings
from ...errors import BrokerUnavailable, ConfigurationError
from ...message.burial import DEAD_QUEUE
from ...message.envelope import Envelope
from ...text.passwords import hide_password
from ..base import MAX_TAKEN, BrokerHealth, Finding, PendingDeadLetter, QueueDepth
from ..capabilities import Capabilities
from ..connections import MOST_IDLE, Connection, acknowledge
from ..failures import RETRY_POLICY, STEP, errors
from ..virtual import VirtualBroker, prepared_message
from .checks import findings
from .client import connect, product
from .dead_queue import take
from .delayed import RedisDelayed
from .queues import LeaseQueues, Queues
from .transport.keys import KeySpace

T = TypeVar("T")

CONSUMER_STEP = 5.0
"""Seconds that a consumer waits for an answer; longer than the second for which it blocks on purpose."""
SENTINEL_STEP = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": Retry(NoBackoff(), 0)}
"""How long one Sentinel is asked for the master before the next is; redis-py would ask each four times."""
STOCK_VISIBILITY_TIMEOUT = 12 * 3600
"""With kombu's transport a job that runs longer than this many seconds runs twice."""
LEASES = Capabilities(counts_starts=True, delayed_by_queue=True, lists_delayed=True)
STOCK = Capabilities(keeps_delays=False)
LEASE_TRANSPORT = "flask_nightshift.transport:Transport"
LEASE_SENTINEL_TRANSPORT = "flask_nightshift.transport:SentinelTransport"


class RedisBroker(VirtualBroker):
    """One Redis or Valkey server, or a Sentinel group (``sentinel://a;sentinel://b``)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._options = _options(settings)
        self._keys = KeySpace.of(self._options)
        self._client: redis.Redis | None = None

    @property
    def _broker_url(self) -> str:
        """What kombu connects to."""
        return self._settings.broker_url

    @property
    def _leases(self) -> bool:
        return self._settings.redis_transport == "lease"

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
        self, channel: Any, envelopes: Sequence[Envelope], queue: str, once: tuple[str, int]
    ) -> None:
        if self._leases:
            channel.publish_envelopes(envelopes, queue, once)
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
        blocks_loop: bool = False,  # noqa: ARG002 - the Protocol's
    ) -> None:
        """A claim notes as begun what will begin at once, and takes what fits into the window."""
        if self._leases:
            connection.transport.slots, connection.transport.window = slots, window

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

    def delayed(self) -> None:
        """Nothing: ``depths`` tells it by queue, and kombu's transport keeps them in workers' memories."""

    def delayed_jobs(self) -> RedisDelayed | None:
        """With leases; kombu's own transport leaves delayed jobs to the workers' memories."""
        return RedisDelayed(self._ask) if self._leases else None

    def purge(self, queue: str) -> int:
        """Delete the ready and the delayed jobs of ``queue``."""
        return self._ask(lambda queues: queues.purge(queue))

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters, oldest first; they stay in the list until ``done()``."""
        return self._ask(lambda queues: take(queues.client, self._keys, limit, max_bytes, self._fail))

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """PING on a new connection."""
        started = monotonic()
        try:
            step = 0.8 * timeout  # its error says more than that nobody answered in time
            with connect(self._broker_url, self._options, self._tls, step) as client:
                client.ping()
                latency = monotonic() - started
                name, version = product(client)
        except errors() as exc:
            raise self._fail(exc) from exc
        return BrokerHealth(name, version, latency)

    def diagnose(
        self,
        *,
        longest_time_limit: float | None,
        queues: Iterable[str],  # noqa: ARG002 - the Protocol's
    ) -> list[Finding]:
        """Persistence, eviction, memory; with kombu's transport also its visibility timeout."""
        try:
            visible = None if self._leases else float(self._options["visibility_timeout"])
            return self._ask(lambda queues_: findings(queues_.client, longest_time_limit, visible))
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
                self._client = connect(self._broker_url, self._options, self._tls, STEP)
            queues = (LeaseQueues if self._leases else Queues)(self._client, self._keys)
            return question(queues)
        except errors() as exc:
            raise self._fail(exc) from exc

    def _connect(self) -> Connection:
        return Connection(
            self._broker_url,
            connect_timeout=STEP,
            transport=self._transport,
            transport_options=self.write_options,
            ssl=self._tls or False,
        )


def _options(settings: Settings) -> dict[str, Any]:
    """The transport options, the user's before ours."""
    url = settings.broker_url
    options: dict[str, Any] = {
        "socket_connect_timeout": STEP,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry_on_timeout": False,
    }
    if settings.redis_transport == "lease":
        options |= {"delivery_limit": settings.delivery_limit, "dead_letter_queue": DEAD_QUEUE}
    else:
        options |= {"visibility_timeout": STOCK_VISIBILITY_TIMEOUT}
    sentinel = url.startswith("sentinel:")
    options |= settings.celery.get("broker_transport_options") or {}
    if sentinel:
        options["sentinel_kwargs"] = {**SENTINEL_STEP, **(options.get("sentinel_kwargs") or {})}
    if sentinel and not options.get("master_name"):
        raise ConfigurationError(
            "NIGHTSHIFT_CELERY",
            settings.celery,
            "sentinel:// needs {'broker_transport_options': {'master_name': …}}",
        )
    if url.startswith(("embedded:", "redis+socket:")) and settings.celery.get("broker_use_ssl"):
        raise ConfigurationError(
            "NIGHTSHIFT_CELERY['broker_use_ssl']",
            settings.celery["broker_use_ssl"],
            "a unix socket has no TLS: drop it, or give the URL of a server in NIGHTSHIFT_BROKER_URL",
        )
    if ";" in url and not sentinel:
        raise ConfigurationError(
            "NIGHTSHIFT_BROKER_URL",
            hide_password(url),
            "one server; several URLs are for sentinel:// and amqp://",
        )
    return options


def make(settings: Settings, app: Flask) -> RedisBroker:  # noqa: ARG001 - every broker's signature
    """The broker for ``connect``."""
    return RedisBroker(settings)
