"""Our frames are py-amqp's, byte for byte, and what we read is what py-amqp reads, however the bytes arrive."""

from __future__ import annotations

import inspect
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
from amqp import Message, spec
from amqp.exceptions import RecoverableConnectionError, UnexpectedFrame
from amqp.method_framing import frame_handler as amqp_reader
from amqp.method_framing import frame_writer as amqp_writer
from amqp.serialization import decode_properties_basic, dumps
from amqp.transport import TCPTransport
from celery.worker.loops import _quick_drain
from hypothesis import example, given
from hypothesis import strategies as st

from flask_nightshift.brokers.rabbitmq import worker_connection
from flask_nightshift.brokers.rabbitmq.acks import LONGEST, Outstanding
from flask_nightshift.brokers.rabbitmq.frames import TooLarge
from flask_nightshift.brokers.rabbitmq.message import JobMessage
from flask_nightshift.brokers.rabbitmq.properties import Unusual, decoded, encoded
from flask_nightshift.brokers.rabbitmq.reading import QUICK, FrameReader
from flask_nightshift.brokers.rabbitmq.writing import FrameWriter

FRAME_MAX = 4096

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
    assert _written(FrameWriter, odd, b"body") == _written(amqp_writer, odd, b"body")


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
        _written(amqp_writer, bad, b"")
    with pytest.raises(type(theirs.value)) as ours:
        _written(FrameWriter, bad, b"")
    assert str(ours.value) == str(theirs.value)


# -- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3_000, FRAME_MAX - 8, FRAME_MAX - 7, 50_000])
def test_a_message_is_written_as_py_amqp_writes_it(size: int) -> None:
    content = {"content_type": "application/json", "application_headers": {"id": "1"}}
    for body in (b"x" * size, "é" * size):
        ours, theirs = (_written(each, dict(content), body) for each in (FrameWriter, amqp_writer))
        assert b"".join(ours) == b"".join(theirs)
        assert len(ours) <= max(1, len(theirs))


def test_methods_and_heartbeats_are_written_as_py_amqp_writes_them() -> None:
    for call in (
        (1, 3, spec.Basic.Ack, dumps("Lb", (7, False)), None),
        (1, 3, spec.Channel.CloseOk, "", None),
        (8, 0, None, None, None),
    ):
        written = [_sent(make, call) for make in (FrameWriter, amqp_writer)]
        assert written[0] == written[1]


def test_headers_that_do_not_fit_into_a_frame_are_refused_before_a_byte_is_sent() -> None:
    sent: list[bytes] = []
    with pytest.raises(TooLarge, match="the largest is 'large'"):
        _write(FrameWriter, sent, {"application_headers": {"large": "x" * FRAME_MAX, "id": "1"}}, b"body")
    assert sent == []


# -- reading ------------------------------------------------------------------------------------------------------

BODIES = [b"[[1], {}, {}]", b"", b"\xff\xfe", b"x" * 9_000]


def _deliveries() -> bytes:
    """Deliveries of all shapes, heartbeats, and another method between them."""
    pieces: list[bytes] = []
    writer = FrameWriter(_a_connection(), _a_transport(pieces))
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


def _seen(message: Any) -> tuple[Any, ...]:
    return message.delivery_info, message.properties, message.body, message.channel.channel_id


def _as_py_amqp_reads(stream: bytes) -> list[tuple[Any, ...]]:
    with _connected(amqp_reader) as (connection, server, received):
        server.sendall(stream)
        for _ in BODIES * 2:
            connection.drain_events(timeout=2)
        return [_seen(message) for message in received]


@pytest.mark.parametrize("cut", [1, 7, 100, 4_000, 1_000_000])
@pytest.mark.parametrize("timeout", [0, 2, None])
@pytest.mark.parametrize("watched", [True, False])
def test_deliveries_arrive_as_py_amqp_reads_them(cut: int, timeout: float | None, watched: bool) -> None:
    stream = _deliveries()
    with _connected(FrameReader) as (connection, server, received):
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
    with _connected(FrameReader) as (connection, server, received):
        channel = connection.channels[1]

        def receive(message: Any) -> None:
            received.append(message)
            if len(received) == 1:
                channel.wait(spec.Basic.QosOk, timeout=2)
                assert len(received) == len(BODIES) * 2

        channel.callbacks["consumer"] = receive
        server.sendall(_deliveries())
        connection.drain_events(timeout=0)
        assert [message.delivery_tag for message in received] == list(range(1, len(BODIES) * 2 + 1))


def test_one_read_handles_one_message_if_the_caller_waits() -> None:
    """Between two messages a worker whose jobs run in this thread looks whether it has to stop."""
    with _connected(FrameReader) as (connection, server, received):
        server.sendall(_deliveries())
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
    with _connected(FrameReader) as (connection, server, received):

        def refuse(message: Any) -> None:
            received.append(message)
            if len(received) == 2:
                raise ValueError("no")

        connection.channels[1].callbacks["consumer"] = refuse
        server.sendall(_deliveries())
        with pytest.raises(ValueError, match="no"):
            connection.drain_events(timeout=0)
        connection.drain_events(timeout=0)
        assert len(received) == len(BODIES) * 2


def test_a_silent_a_closed_and_a_strange_server() -> None:
    with _connected(FrameReader) as (connection, server, _):
        for timeout in (0, 0.05):
            with pytest.raises(TimeoutError):
                connection.drain_events(timeout=timeout)
        assert connection.connected
        server.close()
        with pytest.raises(OSError, match="closed connection"):
            connection.drain_events(timeout=1)
        assert not connection.connected
    with _connected(FrameReader) as (connection, server, _):
        server.sendall(b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x00\x0b!")
        with pytest.raises(UnexpectedFrame):
            connection.drain_events(timeout=1)
    with _connected(FrameReader) as (connection, _server, _):
        connection.transport.sock = None
        with pytest.raises(RecoverableConnectionError):
            connection.drain_events(timeout=0)


def test_celerys_quick_drain_does_not_wait_where_nothing_is_consumed() -> None:
    """With gevent, Celery's loop calls it after each message; its 0.1 s would allow ten jobs a second."""
    assert inspect.signature(_quick_drain).parameters["timeout"].default == QUICK
    with _connected(FrameReader) as (connection, _server, _):
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
    with _connected(FrameReader) as (connection, server, _):
        confirmed: list[tuple[int, bool]] = []
        connection.on_inbound_frame.listen(1, lambda tag, multiple: confirmed.append((tag, multiple)))
        pieces: list[bytes] = []
        writer = FrameWriter(_a_connection(), _a_transport(pieces))
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (7, False)), None)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (2**40, True)), None)
        server.sendall(b"".join(pieces))
        connection.drain_events(timeout=0)
        assert confirmed == [(7, False), (2**40, True)]


# -- acknowledgements ---------------------------------------------------------------------------------------------


class Server:
    """The broker's side of one channel: what is delivered and not settled."""

    def __init__(self) -> None:
        self.unsettled: list[int] = []
        self.frames = 0

    def ack(self, tag: int, multiple: bool) -> None:
        self.frames += 1
        assert tag in self.unsettled, "RabbitMQ closes the channel at an unknown tag"
        for each in [each for each in self.unsettled if each <= tag] if multiple else [tag]:
            self.unsettled.remove(each)


@given(
    st.lists(st.tuples(st.sampled_from(["deliver", "hold", "ack", "write"]), st.integers(0, 9)), max_size=60)
)
def test_only_what_is_acknowledged_is_settled(steps: list[tuple[str, int]]) -> None:
    server, outstanding = Server(), Outstanding()
    running: list[int] = []
    held: list[int] = []
    last = 0
    for step, which in [*steps, ("write", 0)]:
        if step == "deliver":
            last += 1
            outstanding.add(last)
            server.unsettled.append(last)
            running.append(last)
        elif step == "write":
            for tag, multiple in outstanding.acks(held):
                server.ack(tag, multiple)
            held.clear()
        elif running:
            tag = running.pop(which % len(running))
            if step == "hold":
                held.append(tag)
            else:
                server.ack(tag, False)
                outstanding.settle(tag, multiple=False)
        assert server.unsettled == sorted([*running, *held])


def test_acknowledgements_of_a_turn_are_one_frame() -> None:
    with _acking() as (writer, acks, sent, calls):
        for tag in range(1, 6):
            acks.delivered(1, tag)
        for tag in (2, 1, 3, 5):
            writer(1, 1, spec.Basic.Ack, dumps("Lb", (tag, False)), None)
        assert sent == []
        assert len(calls) == 1
        calls[0]()
        assert _methods(sent) == [(spec.Basic.Ack, 3, True), (spec.Basic.Ack, 5, False)]
        before = writer._connection.bytes_sent
        calls[0]()
        assert len(sent) == 1
        assert writer._connection.bytes_sent == before, "a heartbeat must not take this for a frame"


def test_held_acknowledgements_go_before_any_other_frame() -> None:
    with _acking() as (writer, acks, sent, _calls):
        for tag in (1, 2, 3):
            acks.delivered(1, tag)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (1, False)), None)
        writer(1, 1, spec.Basic.Reject, dumps("Lb", (2, True)), None)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (3, False)), None)
        writer(8, 0, None, None, None)
        assert _methods(sent)[:3] == [
            (spec.Basic.Ack, 1, False), (spec.Basic.Reject, 2, True), (spec.Basic.Ack, 3, False),
        ]  # fmt: skip


def test_an_acknowledgement_is_written_at_once_where_it_could_wait_too_long() -> None:
    """From another thread, on a channel whose deliveries we do not know, and after 10 ms."""
    with _acking() as (writer, acks, sent, _calls):
        for tag in (1, 2, 3, 4):
            acks.delivered(1, tag)
        thread = threading.Thread(target=writer, args=(1, 1, spec.Basic.Ack, dumps("Lb", (1, False)), None))
        thread.start()
        thread.join()
        writer(1, 2, spec.Basic.Ack, dumps("Lb", (1, False)), None)
        assert len(sent) == 2
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (2, False)), None)
        assert len(sent) == 2
        time.sleep(LONGEST * 2)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (3, False)), None)
        assert _methods(sent)[2:] == [(spec.Basic.Ack, 2, False), (spec.Basic.Ack, 3, False)]


@pytest.mark.parametrize("blocks_loop", [True, False])
def test_a_pool_that_blocks_the_loop_acknowledges_at_once(
    blocks_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ``solo`` the next job follows in the same turn, and may take long."""
    monkeypatch.setattr(
        worker_connection, "get_event_loop", lambda: SimpleNamespace(call_soon=lambda _: None)
    )
    with _connected(FrameReader) as (connection, server, _):
        connection.frame_writer = FrameWriter(connection, connection.transport)
        channel = SimpleNamespace()
        kombus = SimpleNamespace(connection=connection, default_channel=channel)
        worker_connection.prepare_for_jobs(kombus, blocks_loop=blocks_loop)
        assert channel.Message is JobMessage
        assert connection.on_inbound_frame.one_by_one is blocks_loop
        connection.frame_writer(1, 1, spec.Channel.Open, dumps("s", ("",)), None)
        server.recv(1000)
        server.sendall(_deliveries())
        connection.drain_events(timeout=2)
        connection.channels[1].basic_ack(1)
        server.settimeout(0)
        if blocks_loop:
            assert _methods([server.recv(1000)]) == [(spec.Basic.Ack, 1, False)]
        else:
            with pytest.raises(BlockingIOError):
                server.recv(1000)
            worker_connection.write_acks(connection.channels[1])
            assert _methods([server.recv(1000)]) == [(spec.Basic.Ack, 1, False)]


def test_an_error_of_late_acknowledgements_ends_no_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    with _acking() as (writer, acks, _sent, calls):
        acks.delivered(1, 1)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (1, False)), None)

        def fail(_data: bytes) -> None:
            raise BrokenPipeError("gone")

        writer._transport.write = fail
        calls[0]()
    assert "could not be acknowledged" in caplog.text


# -- helpers ------------------------------------------------------------------------------------------------------


def _a_connection() -> Any:
    return SimpleNamespace(frame_max=FRAME_MAX, bytes_sent=0)


def _a_transport(sent: list[bytes]) -> Any:
    @contextmanager
    def having_timeout(_timeout: float | None) -> Iterator[None]:
        yield

    return SimpleNamespace(
        write=lambda data: sent.append(bytes(data)), having_timeout=having_timeout, sock=None, connected=True
    )


@contextmanager
def _acking() -> Iterator[tuple[FrameWriter, Any, list[bytes], list[Callable[[], None]]]]:
    """A writer that holds acknowledgements of channel 1 back, what it sent, and the calls it asked the loop for."""
    sent: list[bytes] = []
    calls: list[Callable[[], None]] = []
    writer = FrameWriter(_a_connection(), _a_transport(sent))
    acks = writer.hold_acks(SimpleNamespace(call_soon=calls.append))
    writer(1, 1, spec.Channel.Open, dumps("s", ("",)), None)
    sent.clear()
    yield writer, acks, sent, calls


def _methods(sent: list[bytes]) -> list[tuple[tuple[int, int], int, bool]]:
    """Class and method, tag and flag of each frame."""
    found, data = [], b"".join(sent)
    while data:
        kind, _channel, size = struct.unpack_from(">BHI", data)
        if kind == 1:
            first, second, tag, flag = struct.unpack_from(">HHQB", data, 7)
            found.append(((first, second), tag, bool(flag)))
        data = data[size + 8 :]
    return found


def _sent(make: Callable[..., Any], call: tuple[Any, ...]) -> list[bytes]:
    sent: list[bytes] = []
    make(_a_connection(), _a_transport(sent))(*call)
    return sent


def _write(make: Callable[..., Any], sent: list[bytes], given_properties: Any, body: Any) -> None:
    args = dumps("Bssbb", (0, "exchange", "key", True, False))
    make(_a_connection(), _a_transport(sent))(
        1, 1, spec.Basic.Publish, args, Message(body, **given_properties)
    )


def _written(make: Callable[..., Any], given_properties: Any, body: Any) -> list[bytes]:
    sent: list[bytes] = []
    _write(make, sent, given_properties, body)
    return sent


@contextmanager
def _connected(reader: Callable[..., Any]) -> Iterator[tuple[Any, socket.socket, list[Any]]]:
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
