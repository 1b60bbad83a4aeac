"""The brokers of the contract tests, each with a real server."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from flask import Flask

from flask_nightshift.brokers import Connection, connect
from flask_nightshift.brokers.base import Broker
from flask_nightshift.brokers.capabilities import Capabilities
from flask_nightshift.brokers.memory import server as memory
from flask_nightshift.brokers.redis.client import connect as client
from flask_nightshift.brokers.redis.embedded import is_running, socket_path
from flask_nightshift.config import settings as config
from flask_nightshift.domain.job import utcnow
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from redis_cluster import RedisCluster
from servers import RabbitMQ, Server


class Embedded(Server):
    """``flask jobs broker`` in an instance folder whose name contains a space."""

    program = "embedded"
    start_seconds = 30

    def __init__(self) -> None:
        super().__init__()
        self.instance = self.home / "my instance"
        self.instance.mkdir()

    @property
    def url(self) -> str:
        return "embedded://"

    def command(self) -> list[str]:
        code = "import sys; from flask_nightshift.brokers.redis.embedded import serve; serve(sys.argv[1])"
        return [sys.executable, "-c", code, str(self.instance)]

    def ping(self) -> Any:
        return is_running(self.instance)

    def fresh_url(self) -> str:
        with redis.Redis(unix_socket_path=str(socket_path(self.instance))) as client:
            client.flushall()
        return self.url


class InProcess:
    """The server of ``memory://NAME``; it is not a process, and ``stop()`` makes it unavailable."""

    frozen = False

    def __init__(self) -> None:
        self._state = memory.server("")

    def fresh_url(self) -> str:
        name = f"contract-{secrets.token_hex(4)}"
        self._state = memory.server(name)
        return f"memory://{name}"

    def stop(self) -> None:
        self._state.away = True

    kill = freeze = stop

    def ensure(self) -> None:
        self._state.away = False

    thaw = start = ensure


@dataclass
class Harness:
    """A broker, its server, and its capabilities."""

    name: str
    server: Any
    url: str
    app: Flask
    broker: Broker

    @property
    def queue(self) -> str:
        """The name of a queue for this test alone."""
        return self.app.config["QUEUE"]

    @property
    def can(self) -> Capabilities:
        return self.broker.capabilities

    def key(self, name: str) -> str:
        """The key ``name`` of this broker's Redis."""
        options = self.broker.celery_settings()["broker_transport_options"]
        return f"{options.get('global_keyprefix', '')}{name}"

    def redis(self) -> Any:
        """A client of this broker's Redis that prefixes no keys."""
        if isinstance(self.server, RedisCluster):
            return self.server.client()
        return client(self.broker.celery_settings()["broker_url"], {}, None, 2)

    def connection(self) -> Connection:
        """A connection as a worker opens it."""
        settings = self.broker.celery_settings()
        return Connection(
            settings["broker_url"],
            transport=settings.get("broker_transport"),
            transport_options=settings["broker_transport_options"],
            connect_timeout=settings["broker_connection_timeout"],
        )

    def accepts(self) -> bool:
        """Publish a job; raises while the broker refuses it."""
        self.broker.publish(a_job(), self.queue)
        return True

    @contextmanager
    def consumer(self, queue: str | None = None, prefetch: int = 10) -> Iterator[Callable[..., Any]]:
        """Consume as a worker does; yields ``receive(seconds)``, which returns the next ``kombu.Message`` or None."""
        received: list[Any] = []
        with self.connection() as connection, connection.channel() as channel:
            self.broker.prepare(connection, [self.broker.queue(queue or self.queue)])
            consumer = connection.Consumer(
                self.broker.queue(queue or self.queue),
                channel=channel,
                on_message=received.append,
                prefetch_count=prefetch,
                no_ack=False,
            )

            def receive(seconds: float = 5.0) -> Any:
                deadline = time.monotonic() + seconds
                while not received and time.monotonic() < deadline:
                    try:
                        connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))
                    except TimeoutError:
                        break
                return received.pop(0) if received else None

            with consumer:
                yield receive


FIXTURES = {
    "embedded": "embedded",
    "redis": "redis_server",
    "managed": "managed_redis",
    "cluster": "redis_cluster",
    "kombu": "redis_server",
    "rabbitmq": "rabbitmq",
    "memory": "in_process",
}
"""The fixture of the server for each broker.

They are the lease transport on Valkey, on Redis, on Redis as the user that the docs publish, and on a Redis Cluster;
kombu's own on Redis; RabbitMQ; and the broker inside this process.
"""
NAMES = list(FIXTURES)


@contextmanager
def make_harness(name: str, server: Any, **settings: Any) -> Iterator[Harness]:
    """A harness on ``server`` with empty queues."""
    url = settings.pop("NIGHTSHIFT_BROKER_URL", None) or (
        emptied(server) if isinstance(server, RabbitMQ) else server.fresh_url()
    )
    own = None if isinstance(server, Embedded) else tempfile.TemporaryDirectory(prefix="nightshift-")
    instance = Path(own.name) if own is not None else server.instance
    app = Flask("shop", instance_path=str(instance))
    app.config.update(
        NIGHTSHIFT_BROKER_URL=url,
        NIGHTSHIFT_REDIS_TRANSPORT="kombu" if name == "kombu" else "lease",
        QUEUE=f"eu.mail-{secrets.token_hex(3)}",
        **settings,
    )
    broker = connect(config.load(app), app)
    yield Harness(name, server, url, app, broker)
    server.ensure()
    broker.close()
    if own is not None:
        own.cleanup()


def emptied(server: RabbitMQ) -> str:
    """The shared vhost of these tests, with purged queues, because a new vhost takes a second to declare."""
    if not hasattr(server, "contract_url"):
        server.contract_url = server.fresh_url()  # type: ignore[attr-defined]
    url = str(server.contract_url)  # type: ignore[attr-defined]
    with Connection(url) as connection:
        for queue in (DEAD_QUEUE, *(f"celery_delayed_{level}" for level in range(28))):
            with suppress(connection.channel_errors):  # not declared yet
                connection.channel().queue_purge(queue)
    return url


def a_job(
    name: str = "mail.send", *args: Any, enqueued_at: datetime | None = None, **headers: Any
) -> Envelope:
    """The envelope of a job, as Celery writes it."""
    history = {"enqueued_at": (enqueued_at or utcnow()).isoformat(), "attempts": []}
    body = json.dumps(
        [list(args), {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    ).encode()
    return Envelope(
        body,
        {
            "id": secrets.token_hex(8),
            "task": name,
            "lang": "py",
            "retries": 0,
            "nightshift": history,
            **headers,
        },
        {"correlation_id": "c"},
    )
