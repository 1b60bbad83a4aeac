"""A Redis or Valkey server with producers, consumers and a client that inspects it, for tests of the transport."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import kombu
from kombu import Consumer, Producer, Queue

from flask_nightshift.brokers.connections import Connection
from flask_nightshift.brokers.redis.transport import reclaim
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from flask_nightshift.brokers.redis.transport.options import Options
from places import python_path
from servers import RedisServer, wait_for

TRANSPORT = "flask_nightshift.transport:Transport"
QUEUE = "jobs"
BOOKS = {b"nightshift:consumers", b"nightshift:clients"}
"""The keys that exist as long as a consumer lives."""


class Harness:
    """One server, empty at first; ``close`` closes all connections that it opened."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.url = server.fresh_url()
        self.redis = server.client()
        reclaim._outage_at = float("-inf")  # as in a new process
        self._open = ExitStack()
        self._producers: dict[Any, Any] = {}

    def connect(self, transport: str | None = TRANSPORT, **options: Any) -> Any:
        """A kombu connection; ``transport=None`` is kombu's own."""
        options = {"socket_timeout": 5, "socket_connect_timeout": 2, **options}
        connection = Connection(self.url, transport=transport, transport_options=options)
        self._open.callback(_release, connection)
        return connection

    def publish(self, body: Any, queue: str = QUEUE, *, stock: bool = False, **options: Any) -> None:
        """Publish through the lease transport, or with ``stock`` through kombu's."""
        self.producer(stock=stock, **options.pop("options", {})).publish(
            body, exchange="", routing_key=queue, serializer="json", **options
        )

    def producer(self, *, stock: bool = False, **options: Any) -> Any:
        """A producer; the same one for the same options."""
        key = (stock, repr(options))
        if key not in self._producers:
            self._producers[key] = Producer(self.connect(None if stock else TRANSPORT, **options).channel())
        return self._producers[key]

    def reader(
        self, *queues: str, prefetch: int = 10, transport: str | None = TRANSPORT, **options: Any
    ) -> Reader:
        """A consumer of ``queues``."""
        return Reader(self.connect(transport, **options), queues or (QUEUE,), prefetch)

    def ready(self, queue: str = QUEUE) -> list[Any]:
        """The bodies in the ready list, next first."""
        return [body_of(raw) for raw in reversed(self.redis.lrange(queue, 0, -1))]

    def dead(self) -> list[dict[str, Any]]:
        """The messages in the dead-letter queue, oldest first."""
        return [json.loads(raw) for raw in reversed(self.redis.lrange("nightshift.dead", 0, -1))]

    def leased(self) -> list[Any]:
        """The bodies of the leased messages."""
        return [
            body_of(value.split(b"\0", 2)[2])
            for key in self.redis.keys("nightshift:lease:*")
            for value in self.redis.hvals(key)
        ]

    def nothing_left(self) -> None:
        """Wait until the server is as empty as before."""
        wait_for(lambda: not self._keys(), 5, "keys are left behind")

    def _keys(self) -> set[bytes]:
        return {key for key in self.redis.scan_iter() if not key.startswith(b"_kombu.binding")}

    def keys(self) -> set[bytes]:
        """All keys except kombu's bindings, and doorbells, which expire."""
        passing = b"nightshift:bell:", b"nightshift:wake:"
        return {key for key in self._keys() if not any(part in key for part in passing)}

    def close(self) -> None:
        """Close all connections."""
        self._open.close()
        self.redis.close()


class Reader:
    """A consumer that collects its messages."""

    def __init__(self, connection: Any, queues: tuple[str, ...], prefetch: int) -> None:
        self.connection = connection
        self.channel = connection.channel()
        self.channel.basic_qos(0, prefetch, False)
        self.got: deque[Any] = deque()
        self.consumer = Consumer(
            self.channel,
            [Queue(name, routing_key=name) for name in queues],
            on_message=self.got.append,
            auto_declare=False,
        )
        self.consumer.consume()

    @property
    def lease(self) -> Any:
        return self.channel.consumer.lease

    def next(self, timeout: float = 5) -> Any:
        """The next message."""
        deadline = time.monotonic() + timeout
        while not self.got:
            self.connection.drain_events(timeout=max(0.01, deadline - time.monotonic()))
        return self.got.popleft()

    def take(self, count: int) -> list[Any]:
        """The next ``count`` messages."""
        return [self.next() for _ in range(count)]

    def within(self, seconds: float) -> list[Any]:
        """All messages that arrive within ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(TimeoutError):
                self.connection.drain_events(timeout=min(0.1, seconds))
        found = list(self.got)
        self.got.clear()
        return found

    def replace(self, message: Any, body: Any, queue: str = QUEUE, **options: Any) -> bool:
        """Replace ``message`` by a message with ``body``; returns whether it was replaced."""
        prepared = self.channel.prepare_message(
            json.dumps(body), None, "application/json", "utf-8", {"id": "next"}
        )
        return bool(message.channel.basic_replace(message.delivery_tag, prepared, "", queue, **options))

    def close(self) -> None:
        self.connection.release()


def body_of(raw: bytes) -> Any:
    """The body in a raw message."""
    import base64

    return json.loads(base64.b64decode(json.loads(raw)["body"]))


def look_for_dead(harness: Harness) -> list[str]:
    """Reclaim what consumers hold whose lease expired, seen late once before; the names of those consumers."""
    before = harness.redis.zrange(KeySpace().consumers, 0, -1)
    reclaim.reclaim(harness.redis, "", KeySpace(), Options(lease_seconds=0, lease_renew_seconds=0), 1, {})
    left = harness.redis.zrange(KeySpace().consumers, 0, -1)
    return [name.decode() for name in before if name not in left]


def bodies(messages: list[Any]) -> list[Any]:
    return [message.payload for message in messages]


def eta(seconds: float) -> dict[str, Any]:
    """Headers of a message that is due in ``seconds``."""
    return {"id": f"due-{seconds}", "eta": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}


CHILD = """
import sys, time
from transport_support import Reader
from flask_nightshift.brokers.connections import Connection
url, transport, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
reader = Reader(Connection(url, transport=transport, transport_options=options), ("jobs",), 10)
message = reader.next(20)
print(message.payload, flush=True)
sys.stdin.readline()
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
message.ack()
reader.got.clear()
try:
    while True:
        print("next", reader.next(timeout=10).payload, flush=True)
except Exception as exc:
    print(type(exc).__name__, exc, flush=True)
"""


class Child:
    """A consumer in a separate process that holds one message."""

    def __init__(self, harness: Harness, **options: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": python_path()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, harness.url, TRANSPORT, repr(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.holds = self.line()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def go_on(self) -> None:
        """Make it acknowledge its message and receive the next one."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.communicate()


@contextmanager
def child(harness: Harness, **options: Any) -> Iterator[Child]:
    made = Child(harness, **options)
    try:
        yield made
    finally:
        made.close()


def _release(connection: kombu.Connection) -> None:
    with suppress(Exception):  # the test may have broken its server
        connection.release()
