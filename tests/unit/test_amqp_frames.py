"""Our frames are py-amqp's, byte for byte, and what we read is what py-amqp reads, however the bytes arrive."""

from __future__ import annotations

import inspect
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp import Message, spec
from amqp.exceptions import RecoverableConnectionError, UnexpectedFrame
from amqp.method_framing import frame_handler as amqp_reader
from amqp.method_framing import frame_writer as amqp_writer
from amqp.serialization import decode_properties_basic, dumps
from celery.worker.loops import _quick_drain
from hypothesis import example, given
from hypothesis import strategies as st

from amqp_wire import (
    BODIES,
    FRAME_MAX,
    a_connection,
    a_transport,
    connected,
    deliveries,
    sent_by,
    write,
    written_by,
)
from flask_nightshift.brokers.rabbitmq.frames import TooLarge
from flask_nightshift.brokers.rabbitmq.properties import Unusual, decoded, encoded
from flask_nightshift.brokers.rabbitmq.reading import QUICK, FrameReader
from flask_nightshift.brokers.rabbitmq.writing import FrameWriter

# -- properties and headers ---------------------------------------------------------------------------------------

texts = st.text(max_size=40)
plain = st.none() | texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
headers = st.dictionaries(texts, values, max_size=12)
properties = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.none() | texts,
        "content_encoding": st.none() | texts,
        "application_headers": st.none() | headers,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.none() | st.integers(0, 255),
        "correlation_id": st.none() | texts,
        "reply_to": st.none() | texts,
        "expiration": st.none() | texts,
        "message_id": st.none() | texts,
    },
)
ODD: list[dict[str, Any]] = [
    {"timestamp": 1},
    {"type": "t", "user_id": "u", "app_id": "a", "cluster_id": "c"},
    {"correlation_id": b"bytes"},
    {"application_headers": {"at": datetime(2026, 1, 2, tzinfo=UTC)}},
    {"application_headers": {"much": Decimal("1.5"), "bytes": b"\xff"}},
    {"application_headers": {"lone": "\udcff"}},
    {"application_headers": {"\udcff": [1, ("two", None)]}},
]


@given(properties)
@example({"application_headers": {"a": 2147483647, "b": 2147483648, "c": -2147483647, "d": -2147483648}})
def test_properties_are_written_and_read_as_py_amqp_does(given_properties: dict[str, Any]) -> None:
    written = Message(**given_properties)._serialize_properties()
    assert encoded(given_properties) == written
    assert decoded(b"before" + written, 6) == decode_properties_basic(written, 0)[0]


@pytest.mark.parametrize("odd", ODD)
def test_what_only_py_amqp_knows_is_left_to_it(odd: dict[str, Any]) -> None:
    with pytest.raises(Unusual):
        encoded(odd)
    written = Message(**odd)._serialize_properties()
    with suppress(Unusual):
        assert decoded(written, 0) == decode_properties_basic(written, 0)[0]
    assert written_by(FrameWriter, odd, b"body") == written_by(amqp_writer, odd, b"body")


@pytest.mark.parametrize(
    "bad",
    [
        {"reply_to": "x" * 256},
        {"priority": 256},
        {"application_headers": {"x" * 256: 1}},
        {"application_headers": {"n": 2**63}},
        {"application_headers": {"o": object()}},
    ],
)
def test_what_cannot_be_written_raises_py_amqps_error(bad: dict[str, Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - whatever py-amqp raises
        written_by(amqp_writer, bad, b"")
    with pytest.raises(type(theirs.value)) as ours:
        written_by(FrameWriter, bad, b"")
    assert str(ours.value) == str(theirs.value)


# -- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3_000, FRAME_MAX - 8, FRAME_MAX - 7, 50_000])
def test_a_message_is_written_as_py_amqp_writes_it(size: int) -> None:
    content = {"content_type": "application/json", "application_headers": {"id": "1"}}
    for body in (b"x" * size, "é" * size):
        ours, theirs = (written_by(each, dict(content), body) for each in (FrameWriter, amqp_writer))
        assert b"".join(ours) == b"".join(theirs)
        assert len(ours) <= max(1, len(theirs))


def test_methods_and_heartbeats_are_written_as_py_amqp_writes_them() -> None:
    for call in (
        (1, 3, spec.Basic.Ack, dumps("Lb", (7, False)), None),
        (1, 3, spec.Channel.CloseOk, "", None),
        (8, 0, None, None, None),
    ):
        written = [sent_by(make, call) for make in (FrameWriter, amqp_writer)]
        assert written[0] == written[1]


def test_headers_that_do_not_fit_into_a_frame_are_refused_before_a_byte_is_sent() -> None:
    sent: list[bytes] = []
    with pytest.raises(TooLarge, match="the largest is 'large'"):
        write(FrameWriter, sent, {"application_headers": {"large": "x" * FRAME_MAX, "id": "1"}}, b"body")
    assert sent == []


# -- reading ------------------------------------------------------------------------------------------------------


def _seen(message: Any) -> tuple[Any, ...]:
    return message.delivery_info, message.properties, message.body, message.channel.channel_id


def _as_py_amqp_reads(stream: bytes) -> list[tuple[Any, ...]]:
    with connected(amqp_reader) as (connection, server, received):
        server.sendall(stream)
        for _ in BODIES * 2:
            connection.drain_events(timeout=2)
        return [_seen(message) for message in received]


@pytest.mark.parametrize("cut", [1, 7, 100, 4_000, 1_000_000])
@pytest.mark.parametrize("timeout", [0, 2, None])
@pytest.mark.parametrize("watched", [True, False])
def test_deliveries_arrive_as_py_amqp_reads_them(cut: int, timeout: float | None, watched: bool) -> None:
    stream = deliveries()
    with connected(FrameReader) as (connection, server, received):
        connection.on_inbound_frame.watched = watched
        pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
        sender = threading.Thread(target=lambda: deque(map(server.sendall, pieces)))
        sender.start()
        while len(received) < len(BODIES) * 2:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                assert timeout == 0
        sender.join()
        assert [_seen(message) for message in received] == _as_py_amqp_reads(stream)
        assert connection.bytes_recv >= 4 * len(BODIES)


def test_a_wait_reads_on_where_a_delivery_waits_for_it() -> None:
    """A consumer that sends a command, and waits for its answer, finds that behind the other deliveries."""
    with connected(FrameReader) as (connection, server, received):
        channel = connection.channels[1]

        def receive(message: Any) -> None:
            received.append(message)
            if len(received) == 1:
                channel.wait(spec.Basic.QosOk, timeout=2)
                assert len(received) == len(BODIES) * 2

        channel.callbacks["consumer"] = receive
        server.sendall(deliveries())
        connection.drain_events(timeout=0)
        assert [message.delivery_tag for message in received] == list(range(1, len(BODIES) * 2 + 1))


def test_one_read_handles_one_message_if_the_caller_waits() -> None:
    """Between two messages a worker whose jobs run in this thread looks whether it has to stop."""
    with connected(FrameReader) as (connection, server, received):
        server.sendall(deliveries())
        connection.drain_events(timeout=2)
        assert len(received) == 1
        connection.on_inbound_frame.one_by_one = True
        for count in (2, 3):
            connection.drain_events(timeout=0)
            assert len(received) == count
        connection.on_inbound_frame.one_by_one = False
        connection.drain_events(timeout=0)
        assert len(received) == len(BODIES) * 2


def test_an_error_of_a_receiver_leaves_the_next_messages_to_the_next_read() -> None:
    with connected(FrameReader) as (connection, server, received):

        def refuse(message: Any) -> None:
            received.append(message)
            if len(received) == 2:
                raise ValueError("no")

        connection.channels[1].callbacks["consumer"] = refuse
        server.sendall(deliveries())
        with pytest.raises(ValueError, match="no"):
            connection.drain_events(timeout=0)
        connection.drain_events(timeout=0)
        assert len(received) == len(BODIES) * 2


def test_a_silent_a_closed_and_a_strange_server() -> None:
    with connected(FrameReader) as (connection, server, _):
        for timeout in (0, 0.05):
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=timeout)
        assert connection.connected
        server.close()
        with pytest.raises(OSError, match="closed connection"):
            connection.drain_events(timeout=1)
        assert not connection.connected
    with connected(FrameReader) as (connection, server, _):
        server.sendall(b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x0b!")
        with pytest.raises(UnexpectedFrame):
            connection.drain_events(timeout=1)
    with connected(FrameReader) as (connection, _server, _):
        connection.transport.sock = None
        with pytest.raises(RecoverableConnectionError):
            connection.drain_events(timeout=0)


def test_celerys_quick_drain_does_not_wait_where_nothing_is_consumed() -> None:
    """With gevent, Celery's loop calls it after each message; its 0.1 s would allow ten jobs a second."""
    assert inspect.signature(_quick_drain).parameters["timeout"].default == QUICK
    with connected(FrameReader) as (connection, _server, _):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=QUICK)
        assert time.monotonic() - began >= QUICK
        connection.channels[1].callbacks.clear()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=QUICK)
        assert time.monotonic() - began < QUICK


def test_confirmations_reach_their_listener() -> None:
    with connected(FrameReader) as (connection, server, _):
        confirmed: list[tuple[int, bool]] = []
        connection.on_inbound_frame.listen(1, lambda tag, multiple: confirmed.append((tag, multiple)))
        pieces: list[bytes] = []
        writer = FrameWriter(a_connection(), a_transport(pieces))
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (7, False)), None)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (2**40, True)), None)
        server.sendall(b"".join(pieces))
        connection.drain_events(timeout=0)
        assert confirmed == [(7, False), (2**40, True)]
