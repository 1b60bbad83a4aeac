"""A py-amqp connection to a socket of the test, and what our writer or py-amqp's writes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import amqp
from amqp import Message, spec
from amqp.serialization import dumps
from amqp.transport import TCPTransport

from flask_nightshift.brokers.rabbitmq.writing import FrameWriter

FRAME_MAX = 4096
BODIES = [b"[[1], {}, {}]", b"", b"\xff\xfe", b"x" * 9_000]


def deliveries() -> bytes:
    """Deliveries of all shapes, heartbeats, and another method between them."""
    pieces: list[bytes] = []
    writer = FrameWriter(a_connection(), a_transport(pieces))
    for tag, body in enumerate(BODIES * 2, 1):
        given_properties = {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "application_headers": {"id": str(tag), "limits": [1, None], "history": {"queue": "mail"}},
            "priority": tag,
        }
        if tag == 5:
            given_properties["type"] = "only py-amqp reads it"
        args = dumps("sLbss", ("consumer", tag, tag % 2, "exchange", "mail"))
        writer(1, 1, spec.Basic.Deliver, args, Message(body, **given_properties))
        writer(8, 0, None, None, None)
    writer(1, 1, spec.Basic.QosOk, "", None)
    return b"".join(pieces)


def a_connection() -> Any:
    return SimpleNamespace(frame_max=FRAME_MAX, bytes_sent=0)


def a_transport(sent: list[bytes]) -> Any:
    @contextmanager
    def having_timeout(_timeout: float | None) -> Iterator[None]:
        yield

    return SimpleNamespace(
        write=lambda data: sent.append(bytes(data)), having_timeout=having_timeout, sock=None, connected=True
    )


def sent_by(make: Callable[..., Any], call: tuple[Any, ...]) -> list[bytes]:
    sent: list[bytes] = []
    make(a_connection(), a_transport(sent))(*call)
    return sent


def write(make: Callable[..., Any], sent: list[bytes], given_properties: Any, body: Any) -> None:
    args = dumps("Bssbb", (0, "exchange", "key", True, False))
    make(a_connection(), a_transport(sent))(1, 1, spec.Basic.Publish, args, Message(body, **given_properties))


def written_by(make: Callable[..., Any], given_properties: Any, body: Any) -> list[bytes]:
    sent: list[bytes] = []
    write(make, sent, given_properties, body)
    return sent


@contextmanager
def connected(reader: Callable[..., Any]) -> Iterator[tuple[Any, socket.socket, list[Any]]]:
    """A py-amqp connection with channel 1 and a consumer, the server's end of its socket, and what is received."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    transport = TCPTransport("localhost:1")
    transport.sock, transport.connected = ours, True
    transport._setup_transport()
    connection = amqp.Connection()
    connection.transport = transport
    connection.on_inbound_frame = reader(connection, connection.on_inbound_method)
    received: list[Any] = []
    amqp.Channel(connection, 1).callbacks["consumer"] = received.append
    try:
        yield connection, theirs, received
    finally:
        ours.close()
        theirs.close()
