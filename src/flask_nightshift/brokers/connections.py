"""Connections of ours: made when needed, dropped when they fail, not inherited by a fork.

``ThreadConnection`` keeps one for each thread. ``ConnectionPool`` lends one for each call, so it opens no more than
there are calls at the same time, however many threads or greenlets come and go.
"""

from __future__ import annotations

import logging
import os
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
from ..message.envelope import Envelope
from ..message.headers import history, ref
from ..options.publish import Unwritable
from ..text.lines import Line, job_fields
from .failures import ERRORS, RETRY_POLICY, is_over, patience

logger = logging.getLogger("flask_nightshift.brokers.link")

T = TypeVar("T")
MOST_IDLE = 100
"""Connections that are kept for the next call."""
Fail = Callable[[BaseException], BrokerUnavailable]
"""What went wrong as the error that callers handle."""
Repair = Callable[[BaseException], bool]
"""Told what went wrong: True if it mended something, so that another try may succeed."""


class Connection(kombu.Connection):
    """A kombu connection that stays with the transport it was given.

    kombu picks the transport by the URL's scheme for ``redis+socket://``, and again whenever it goes on to
    the next URL of a list; a consumer would then silently be served by another transport.
    """

    def __init__(
        self, hostname: Any = "localhost", *args: Any, transport: Any = None, **options: Any
    ) -> None:
        self._given_transport = transport
        self.name = secrets.token_hex(8)
        """Under which a publish over this connection, and its repetition after a cut, is known to the broker."""
        super().__init__(hostname, *args, transport=transport, **options)
        self._keep_transport()

    def switch(self, conn_str: str) -> None:
        """Go on to another URL."""
        super().switch(conn_str)
        self._keep_transport()

    def info(self) -> dict[str, Any]:
        """What ``celery inspect stats`` sends: without the options that are functions, which no message carries."""
        told: dict[str, Any] = super().info()
        options = told.get("transport_options") or {}
        return {**told, "transport_options": {k: v for k, v in options.items() if not callable(v)}}

    def _keep_transport(self) -> None:
        if self._given_transport:
            self.transport_cls = self._given_transport


class _LazyConnection:
    """A connection to a broker, made by ``connect``, used by one thread at a time."""

    def __init__(
        self, connect: Callable[[], kombu.Connection], fail: Fail, repair: Repair | None = None
    ) -> None:
        self._connect = connect
        self.fail = fail
        self._repair = repair
        self._connection: kombu.Connection | None = None
        self._pid = 0

    def call(self, work: Callable[[kombu.Connection], T]) -> T:
        """``work(connection)``, with a new connection if an idle one is dead; raises what ``fail`` gives."""
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._connect(), os.getpid()
        connection = self._connection
        return attempt(connection, lambda: work(connection), self.fail, self._repair)

    def close(self) -> None:
        """Forget the connection; the next call makes another."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            drop(connection)


class ThreadConnection:
    """One connection for each thread or greenlet."""

    def __init__(
        self, connect: Callable[[], kombu.Connection], fail: Fail, repair: Repair | None = None
    ) -> None:
        self.fail = fail
        self._own = Own(lambda: _LazyConnection(connect, fail, repair))

    def call(self, work: Callable[[kombu.Connection], T]) -> T:
        """``work(connection)``, with a new connection if an idle one is dead; raises what ``fail`` gives."""
        return self._own.get().call(work)

    def close(self) -> None:
        """Forget the connection; the next call makes another."""
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
        """``work(connection)``, with a new connection if an idle one is dead; raises what ``fail`` gives."""
        try:
            held = self._idle.pop()
        except IndexError:
            held = _LazyConnection(*self._how)
        try:
            result = held.call(work)
        except BaseException:  # also when it is interrupted twice
            held.close()
            raise
        if len(self._idle) < self._most_idle:
            self._idle.append(held)
        else:
            held.close()
        return result

    def close(self) -> None:
        """Close those that are not lent."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()


def most_idle(celery: Mapping[str, Any]) -> int:
    """How many connections to keep, by Celery's setting ``broker_pool_limit``; None and 0 stand for none there."""
    return int(celery.get("broker_pool_limit", MOST_IDLE) or 0)


def forget_inherited() -> None:
    """In a child of a fork: Celery's pools begin anew, as they do in children of its own.

    What is in them is the parent's. Two processes on one connection take each other's answers.
    """
    for pools in (kombu.pools.producers, kombu.pools.connections):
        pools.clear()


def attempt(
    connection: kombu.Connection, work: Callable[[], T], fail: Fail, repair: Repair | None = None
) -> T:
    """``work()`` in bounded time; once more if the connection was an idle one that died, or ``repair(exc)``.

    Raises ``fail(exc)``, ``Unwritable``, or what interrupted it; the connection is then dropped, so that nobody
    waits for a silent server to say goodbye, and a late confirmation is not taken for that of the next message.
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
                    raise Unwritable(str(exc)) from exc
                if not isinstance(exc, ERRORS):  # interrupted, by a time limit or a signal handler
                    raise
                if last or is_over():
                    raise fail(exc) from exc
                mended = repair is not None and repair(exc)
                if not (idle or mended):
                    raise fail(exc) from exc
    raise AssertionError("unreachable")


def _is_too_large(exc: BaseException) -> bool:
    """Whether RabbitMQ refuses a message for its size (``max_message_size``)."""
    return isinstance(exc, PreconditionFailed) and "message size" in str(exc)


def retry_policy(connection: kombu.Connection) -> dict[str, Any]:
    """How to connect: each node of a cluster gets its chance, while patience lasts."""
    return {**RETRY_POLICY, "max_retries": max(RETRY_POLICY["max_retries"], len(connection.alt))}


def publish(channel: Any, envelope: Envelope, exchange: str, routing_key: str, **options: Any) -> None:
    """Publish the raw body of ``envelope``, persistently; ``options`` are ``kombu.Producer.publish``'s."""
    publish_by(Producer(channel, auto_declare=False), envelope, exchange, routing_key, **options)


def publish_by(
    producer: Producer, envelope: Envelope, exchange: str, routing_key: str, **options: Any
) -> None:
    """The same, by a producer that is there already."""
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


def acknowledge(message: Any) -> None:
    """Release a delivered message whose next state is written already.

    When that cannot be done, the broker gives the message out again by itself: a duplicate, not a loss.
    """
    try:
        message.ack()
    except ERRORS as exc:
        headers = message.headers if isinstance(message.headers, Mapping) else {}
        queue = str(getattr(message, "job_queue", "") or history(headers).get("queue") or "")
        text = f"it is settled, could not be acknowledged, and will come again: {exc!r}"
        fields = job_fields(ref(headers, queue)) if headers.get("id") else {"queue": queue}
        logger.warning(Line("job.unacknowledged", text, **fields, why=repr(exc)))


def ack_log_error(message: Any, logger: Any, errors: Any, multiple: bool = False) -> None:  # noqa: ARG001
    """``kombu.Message.ack_log_error``, which Celery's loop calls a moment after a job has ended, without its raise.

    kombu's raises a broken pipe. If the worker has connected anew meanwhile, Celery takes that for the end of the new
    connection, and the jobs that this one has brought would run twice.
    """
    acknowledge(message)


def return_message(message: Any, fail: Fail) -> None:
    """Return a delivered message to its queue; raises what ``fail`` gives."""
    try:
        message.reject(requeue=True)
    except ERRORS as exc:
        raise fail(exc) from exc


def drop(connection: kombu.Connection) -> None:
    """Close the sockets of a connection that failed, without a word to the broker, which may not answer."""
    with suppress(Exception):  # it is broken already; this must not hide the error that is on its way
        connection.collect(socket.getdefaulttimeout())


def close_pool(pool: Any) -> None:
    """Close all connections of a kombu pool, from whatever thread.

    Where a transport says nothing else, kombu sets the default timeout of all new sockets of the process meanwhile, to
    0.1 s. Two threads that do so at the same time leave it like that.
    """

    def collect(resource: Any) -> None:
        if not isinstance(resource, lazy):
            resource.collect(socket.getdefaulttimeout())

    pool.collect_resource = collect
    pool.force_close_all()
