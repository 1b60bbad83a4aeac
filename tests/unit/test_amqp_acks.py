"""Confirmations of what is published, and acknowledgements of what was delivered: grouped, and exact."""

from __future__ import annotations

import functools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import amqp
import kombu
import pytest
from amqp import Message, spec
from amqp.exceptions import MessageNacked
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st
from kombu.asynchronous import Hub

from amqp_wire import (
    a_connection,
    a_transport,
    connected,
    deliveries,
)
from flask_nightshift.brokers.rabbitmq import worker_connection
from flask_nightshift.brokers.rabbitmq.acks import LONGEST, Outstanding
from flask_nightshift.brokers.rabbitmq.confirming import Outbox, outbox_of
from flask_nightshift.brokers.rabbitmq.frames import TooLarge
from flask_nightshift.brokers.rabbitmq.message import JobMessage
from flask_nightshift.brokers.rabbitmq.reading import FrameReader
from flask_nightshift.brokers.rabbitmq.writing import FrameWriter
from flask_nightshift.message.envelope import Envelope

# -- confirmations -------------------------------------------------------------------------------------------------


@contextmanager
def _outbox() -> Iterator[tuple[Outbox, Callable[..., None], socket.socket]]:
    """An outbox on channel 2, a function with which the server writes a method in advance, and the server's socket."""
    with connected(FrameReader) as (connection, server, _):
        pieces: list[bytes] = []
        writer = FrameWriter(a_connection(), a_transport(pieces))

        def answer(method: tuple[int, int], form: str = "", *args: Any, content: Any = None) -> None:
            pieces.clear()
            writer(1, 2, method, dumps(form, args), content)
            server.sendall(b"".join(pieces))

        connection.frame_writer = FrameWriter(connection, connection.transport)
        connection._used_channel_ids.append(1)
        answer(spec.Channel.OpenOk, "S", "")
        answer(spec.Confirm.SelectOk)
        outbox = outbox_of(SimpleNamespace(connection=connection))
        assert outbox is not None
        assert outbox_of(SimpleNamespace(connection=connection)) is outbox
        yield outbox, answer, server


def _envelopes(count: int, size: int = 20) -> list[Envelope]:
    return [Envelope(b"x" * size, {"id": str(number)}) for number in range(count)]


def test_confirmations_in_any_order_and_group_end_a_publish() -> None:
    with _outbox() as (outbox, answer, _):
        answer(spec.Basic.Ack, "Lb", 3, False)
        answer(spec.Basic.Ack, "Lb", 2, True)
        answer(spec.Basic.Ack, "Lb", 4, True)
        outbox.publish(_envelopes(4), "mail", "mail", 1)
        assert outbox.unconfirmed == []
        answer(spec.Basic.Ack, "Lb", 5, False)
        outbox.publish(_envelopes(1), "mail", "mail", 1)
        with pytest.raises(TimeoutError):
            outbox.publish(_envelopes(1), "mail", "mail", 0.05)


def test_what_the_broker_refuses_or_leaves_unanswered_is_unconfirmed() -> None:
    messages = _envelopes(4)
    with _outbox() as (outbox, answer, _):
        answer(spec.Basic.Nack, "Lb", 2, False)
        answer(spec.Basic.Ack, "Lb", 1, False)
        answer(spec.Basic.Ack, "Lb", 4, True)
        with pytest.raises(MessageNacked):
            outbox.publish(messages, "mail", "mail", 1)
        assert outbox.unconfirmed == [messages[1]]
    with _outbox() as (outbox, answer, _):
        answer(spec.Basic.Nack, "Lb", 1, False)
        answer(spec.Basic.Ack, "Lb", 3, False)
        with pytest.raises(TimeoutError):
            outbox.publish(messages, "mail", "mail", 0.05)
        assert outbox.unconfirmed == [messages[0], messages[1], messages[3]]


def test_a_returned_message_leaves_all_of_its_batch_unconfirmed() -> None:
    """The broker also confirms what it returns, and does not say which message it was."""
    messages = _envelopes(3)
    with _outbox() as (outbox, answer, _):
        answer(spec.Basic.Return, "Bsss", 312, "NO_ROUTE", "mail", "mail", content=Message(b"x"))
        answer(spec.Basic.Ack, "Lb", 3, True)
        with pytest.raises(amqp.ChannelError) as caught:
            outbox.publish(messages, "mail", "mail", 1)
        assert caught.value.reply_code == 312
        assert outbox.unconfirmed == messages


def test_headers_that_are_too_large_use_no_number() -> None:
    with _outbox() as (outbox, answer, _):
        with pytest.raises(TooLarge):
            outbox.publish([Envelope(b"", {"large": "x" * 200_000})], "mail", "mail", 1)
        answer(spec.Basic.Ack, "Lb", 1, False)
        outbox.publish(_envelopes(1), "mail", "mail", 1)


def test_a_wrapped_producer_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentry wraps ``kombu.Producer.publish`` to trace what is published."""
    original = kombu.Producer.publish

    @functools.wraps(original)
    def publish(*args: Any, **options: Any) -> Any:
        return original(*args, **options)

    monkeypatch.setattr(kombu.Producer, "publish", publish)
    assert outbox_of(SimpleNamespace(connection=None)) is None


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
    with acking() as (writer, acks, sent, calls):
        for tag in range(1, 6):
            acks.delivered(1, tag)
        for tag in (2, 1, 3, 5):
            writer(1, 1, spec.Basic.Ack, dumps("Lb", (tag, False)), None)
        assert sent == []
        assert len(calls) == 1
        calls[0]()
        assert methods(sent) == [(spec.Basic.Ack, 3, True), (spec.Basic.Ack, 5, False)]
        before = writer._connection.bytes_sent
        calls[0]()
        assert len(sent) == 1
        assert writer._connection.bytes_sent == before, "a heartbeat must not take this for a frame"


def test_held_acknowledgements_go_before_any_other_frame() -> None:
    with acking() as (writer, acks, sent, _calls):
        for tag in (1, 2, 3):
            acks.delivered(1, tag)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (1, False)), None)
        writer(1, 1, spec.Basic.Reject, dumps("Lb", (2, True)), None)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (3, False)), None)
        writer(8, 0, None, None, None)
        assert methods(sent)[:3] == [
            (spec.Basic.Ack, 1, False), (spec.Basic.Reject, 2, True), (spec.Basic.Ack, 3, False),
        ]  # fmt: skip


def test_an_acknowledgement_is_written_at_once_where_it_could_wait_too_long() -> None:
    """From another thread, on a channel whose deliveries we do not know, and after 10 ms."""
    with acking() as (writer, acks, sent, _calls):
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
        assert methods(sent)[2:] == [(spec.Basic.Ack, 2, False), (spec.Basic.Ack, 3, False)]


@pytest.mark.parametrize("blocks_loop", [True, False])
def test_a_pool_that_blocks_the_loop_acknowledges_at_once(
    blocks_loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ``solo`` the next job follows in the same turn, and may take long."""
    monkeypatch.setattr(
        worker_connection, "get_event_loop", lambda: SimpleNamespace(call_soon=lambda _: None, on_tick=set())
    )
    with connected(FrameReader) as (connection, server, _):
        connection.frame_writer = FrameWriter(connection, connection.transport)
        channel = SimpleNamespace()
        kombus = SimpleNamespace(connection=connection, default_channel=channel)
        worker_connection.prepare_for_jobs(kombus, blocks_loop=blocks_loop)
        assert channel.Message is JobMessage
        assert connection.on_inbound_frame.one_by_one is blocks_loop
        connection.frame_writer(1, 1, spec.Channel.Open, dumps("s", ("",)), None)
        server.recv(1000)
        server.sendall(deliveries())
        connection.drain_events(timeout=2)
        connection.channels[1].basic_ack(1)
        server.settimeout(0)
        if blocks_loop:
            assert methods([server.recv(1000)]) == [(spec.Basic.Ack, 1, False)]
        else:
            with pytest.raises(BlockingIOError):
                server.recv(1000)
            worker_connection.write_acks(connection.channels[1])
            assert methods([server.recv(1000)]) == [(spec.Basic.Ack, 1, False)]


@pytest.mark.parametrize("where", ["call_later", "call_soon"])
def test_the_loop_waits_for_nothing_while_acknowledgements_are_held(where: str) -> None:
    """kombu's loop makes a call that a timer asked for (``call_soon``) only after its next wait."""
    sent: list[bytes] = []
    hub = Hub()
    writer = FrameWriter(a_connection(), a_transport(sent))
    acks = writer.hold_acks(hub)
    writer(1, 1, spec.Channel.Open, dumps("s", ("",)), None)
    acks.delivered(1, 1)
    sent.clear()

    def ack() -> None:
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (1, False)), None)
        acked.append(True)

    ours, theirs = socket.socketpair()
    acked: list[bool] = []
    poll = hub.poller.poll

    def watched(timeout: float) -> Any:
        assert bool(acked) is bool(sent), "it waits before the acknowledgement is written"
        return poll(0 if sent else min(timeout, 0.1))

    hub.poller.poll = watched
    hub.add_reader(ours, lambda: None)
    hub.call_later(0, ack) if where == "call_later" else hub.call_soon(ack)
    loop = hub.create_loop()
    while not sent:
        next(loop)
    assert methods(sent) == [(spec.Basic.Ack, 1, False)]
    assert hub.on_tick == set()
    hub.close()
    ours.close()
    theirs.close()


def test_an_error_of_late_acknowledgements_ends_no_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    with acking() as (writer, acks, _sent, calls):
        acks.delivered(1, 1)
        writer(1, 1, spec.Basic.Ack, dumps("Lb", (1, False)), None)

        def fail(_data: bytes) -> None:
            raise BrokenPipeError("gone")

        writer._transport.write = fail
        calls[0]()
    assert "could not be acknowledged" in caplog.text


# -- helpers ------------------------------------------------------------------------------------------------------


@contextmanager
def acking() -> Iterator[tuple[FrameWriter, Any, list[bytes], list[Callable[[], None]]]]:
    """A writer that holds acknowledgements of channel 1 back, what it sent, and the calls it asked the loop for."""
    sent: list[bytes] = []
    calls: list[Callable[[], None]] = []
    writer = FrameWriter(a_connection(), a_transport(sent))
    acks = writer.hold_acks(SimpleNamespace(call_soon=calls.append, on_tick=set()))
    writer(1, 1, spec.Channel.Open, dumps("s", ("",)), None)
    sent.clear()
    yield writer, acks, sent, calls


def methods(sent: list[bytes]) -> list[tuple[tuple[int, int], int, bool]]:
    """Class and method, tag and flag of each frame."""
    found, data = [], b"".join(sent)
    while data:
        kind, _channel, size = struct.unpack_from(">BHI", data)
        if kind == 1:
            first, second, tag, flag = struct.unpack_from(">HHQB", data, 7)
            found.append(((first, second), tag, bool(flag)))
        data = data[size + 8 :]
    return found
