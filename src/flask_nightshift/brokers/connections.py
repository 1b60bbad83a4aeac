"""Our connections: opened on first use, dropped when they fail, not shared with a forked child.

``ThreadConnection`` keeps one connection for each thread. ``ConnectionPool`` lends one for each call, so the number of
open connections is the number of simultaneous calls, not of threads or greenlets.
"""

from __future__ import annotations

import logging
import secrets
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import kombu
import kombu.pools
from amqp.exceptions import FrameSyntaxError, PreconditionFailed
from kombu import Producer
from kombu.utils.functional import lazy

from ..errors import BrokerUnavailable
from ..lifetime.forks import Own
from ..lifetime.greenlets import called_at_home
from ..lifetime.process import pid
from ..message.envelope import Envelope
from ..message.headers import history, ref
from ..options.publish import UnencodableHeader
from ..text.lines import Line, job_fields
from .failures import RETRY_POLICY, errors, is_over, patience

logger = logging.getLogger("flask_nightshift.brokers.link")

T = TypeVar("T")
MOST_IDLE = 100
"""The maximum number of idle connections that a pool keeps."""
Fail = Callable[[BaseException], BrokerUnavailable]
"""Translates an error of a library into the error that callers handle."""
Repair = Callable[[BaseException], bool]
"""Takes an error; returns True if it repaired the cause, so that a second try may succeed."""


class Connection(kombu.Connection):
    """A kombu connection that keeps its transport.

    For ``redis+socket://``, and whenever it switches to the next URL of a list, kombu chooses the transport by the
    URL's scheme. A consumer would then silently use another transport.
    """

    def __init__(
        self, hostname: Any = "localhost", *args: Any, transport: Any = None, **options: Any
    ) -> None:
        self._given_transport = transport
        self.name = secrets.token_hex(8)
        """Identifies this publisher to the broker, which can so drop a publish that is repeated after a disconnect."""
        super().__init__(hostname, *args, transport=transport, **options)
        self._keep_transport()

    def switch(self, conn_str: str) -> None:
        """Switch to another URL."""
        super().switch(conn_str)
        self._keep_transport()

    def Pool(self, limit: int | None = None, **options: Any) -> Any:  # noqa: N802 - kombu's name
        """A pool of connections that keep this transport, too."""
        pool = super().Pool(limit, **options)
        prepare = pool.prepare

        def prepared(connection: Any) -> Any:
            ready = prepare(connection)
            ready.transport_cls = self.transport_cls
            return ready

        pool.prepare = prepared
        return pool

    def info(self) -> dict[str, Any]:
        """The data for ``celery inspect stats``, without options that are functions: no message can carry them."""
        told: dict[str, Any] = super().info()
        options = told.get("transport_options") or {}
        return {**told, "transport_options": {k: v for k, v in options.items() if not callable(v)}}

    def _keep_transport(self) -> None:
        if self._given_transport:
            self.transport_cls = self._given_transport


class _LazyConnection:
    """A connection that ``connect`` opens on first use; one thread at a time may use it."""

    def __init__(
        self, connect: Callable[[], kombu.Connection], fail: Fail, repair: Repair | None = None
    ) -> None:
        self._connect = connect
        self.fail = fail
        self._repair = repair
        self._connection: kombu.Connection | None = None
        self._pid = 0

    def call(self, work: Callable[[kombu.Connection], T]) -> T:
        """The result of ``work(connection)``; see ``attempt``."""
        if self._connection is None or self._pid != pid():
            self._connection, self._pid = self._connect(), pid()
        connection = self._connection
        return attempt(connection, lambda: work(connection), self.fail, self._repair)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == pid():
            drop(connection)


class ThreadConnection:
    """One connection for each thread or greenlet."""

    def __init__(
        self, connect: Callable[[], kombu.Connection], fail: Fail, repair: Repair | None = None
    ) -> None:
        self.fail = fail
        self._own = Own(lambda: _LazyConnection(connect, fail, repair))

    def call(self, work: Callable[[kombu.Connection], T]) -> T:
        """The result of ``work(connection)``; see ``attempt``."""
        return self._own.get().call(work)

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        self._own.get().close()


class ConnectionPool:
    """Lends a connection for each call, and keeps up to ``idle`` of them for the next ones."""

    def __init__(
        self,
        connect: Callable[[], kombu.Connection],
        fail: Fail,
        repair: Repair | None = None,
        *,
        idle: int = MOST_IDLE,
    ) -> None:
        self._how = connect, fail, repair
        self._most_idle = idle
        self._idle: deque[_LazyConnection] = deque()

    def call(self, work: Callable[[kombu.Connection], T]) -> T:
        """The result of ``work(connection)``; see ``attempt``."""
        return called_at_home(lambda: self._call(work))

    def _call(self, work: Callable[[kombu.Connection], T]) -> T:
        try:
            held = self._idle.pop()
        except IndexError:
            held = _LazyConnection(*self._how)
        try:
            result = held.call(work)
        except BaseException:  # also if a second interruption reaches us here
            held.close()
            raise
        if len(self._idle) < self._most_idle:
            self._idle.append(held)
        else:
            held.close()
        return result

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()


def most_idle(celery: Mapping[str, Any]) -> int:
    """The number of idle connections to keep: Celery's ``broker_pool_limit`` (there, None and 0 mean no pool)."""
    return int(celery.get("broker_pool_limit", MOST_IDLE) or 0)


def forget_inherited() -> None:
    """Empty Celery's pools in a forked child, as Celery does in its own children.

    They contain the parent's connections. Two processes on one connection would read each other's answers.
    """
    for pools in (kombu.pools.producers, kombu.pools.connections):
        pools.clear()


def attempt(
    connection: kombu.Connection, work: Callable[[], T], fail: Fail, repair: Repair | None = None
) -> T:
    """The result of ``work()``, within a time limit.

    It tries a second time if the connection was idle and had died, or if ``repair(exc)`` returned True. Raises
    ``fail(exc)``, ``UnencodableHeader``, or the exception that interrupted it. Each failure drops the connection
    without the closing handshake, so a silent server cannot block us, and a late confirmation cannot be mistaken for
    the next message's.
    """
    with patience():
        for last in (False, True):
            idle = connection.connected
            try:
                if not idle:  # kombu's pools also give out connections that were closed
                    connection.ensure_connection(reraise_as_library_errors=False, **retry_policy(connection))
                return work()
            except BaseException as exc:
                drop(connection)
                if isinstance(exc, (FrameSyntaxError, struct.error)) or _is_too_large(exc):
                    raise UnencodableHeader(str(exc)) from exc
                if not isinstance(exc, errors()):  # interrupted, by a time limit or a signal handler
                    raise
                if last or is_over():
                    raise fail(exc) from exc
                mended = repair is not None and repair(exc)
                if not (idle or mended):
                    raise fail(exc) from exc
    raise AssertionError("unreachable")


def _is_too_large(exc: BaseException) -> bool:
    """Whether RabbitMQ refused a message for its size (``max_message_size``)."""
    return isinstance(exc, PreconditionFailed) and "message size" in str(exc)


def retry_policy(connection: kombu.Connection) -> dict[str, Any]:
    """The policy for connecting, as kombu takes it: try each node of a cluster, until patience is over."""
    return {**RETRY_POLICY, "max_retries": max(RETRY_POLICY["max_retries"], len(connection.alt))}


def publish(channel: Any, envelope: Envelope, exchange: str, routing_key: str, **options: Any) -> None:
    """Publish ``envelope`` as a persistent message; ``options`` are those of ``kombu.Producer.publish``."""
    publish_by(Producer(channel, auto_declare=False), envelope, exchange, routing_key, **options)


def publish_by(
    producer: Producer, envelope: Envelope, exchange: str, routing_key: str, **options: Any
) -> None:
    """Publish ``envelope`` as ``publish`` does, with an existing producer."""
    producer.publish(
        envelope.body,
        exchange=exchange,
        routing_key=routing_key,
        content_type=envelope.content_type,
        content_encoding=envelope.content_encoding,
        headers=dict(envelope.headers),
        delivery_mode=2,
        **{**envelope.properties, **options},
    )


def acknowledge(message: Any, *_: Any) -> None:
    """Acknowledge a message whose next state is written; never raises a broker's error.

    If the acknowledgement fails, it is logged, and the broker delivers the message again: a duplicate, not a loss.
    Celery's requests call it with more arguments (their ``on_ack``).
    """
    try:
        message.ack()
    except errors() as exc:
        headers = message.headers if isinstance(message.headers, Mapping) else {}
        queue = str(getattr(message, "job_queue", "") or history(headers).get("queue") or "")
        text = f"it is settled, could not be acknowledged, and will come again: {exc!r}"
        fields = job_fields(ref(headers, queue)) if headers.get("id") else {"queue": queue}
        logger.warning(Line("job.unacknowledged", text, **fields, why=repr(exc)))


def ack_log_error(message: Any, logger: Any, errors: Any, multiple: bool = False) -> None:  # noqa: ARG001
    """A replacement for ``kombu.Message.ack_log_error`` that does not raise; Celery's loop calls it after a job.

    kombu's raises a broken pipe. If the worker has reconnected by then, Celery would take the error for the end of the
    new connection, and jobs received over that would run twice.
    """
    acknowledge(message)


def return_message(message: Any, fail: Fail) -> None:
    """Return a delivered message to its queue; raises ``fail(exc)``."""
    try:
        message.reject(requeue=True)
    except errors() as exc:
        raise fail(exc) from exc


def drop(connection: kombu.Connection) -> None:
    """Close a failed connection's sockets without the closing handshake, as the broker may not answer."""
    with suppress(Exception):  # the connection is broken; an error here must not hide the original one
        connection.collect(socket.getdefaulttimeout())


def close_pool(pool: Any) -> None:
    """Close all connections of a kombu pool; any thread may call it.

    kombu's own way sets the process-wide socket timeout to 0.1 s while it closes a connection. Two threads that did so
    at the same time could leave it at 0.1 s.
    """

    def collect(resource: Any) -> None:
        if not isinstance(resource, lazy):
            resource.collect(socket.getdefaulttimeout())

    pool.collect_resource = collect
    pool.force_close_all()
