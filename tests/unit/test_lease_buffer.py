"""The buffer between a lease and its consumer: each message is delivered or returned, never both."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest

from flask_nightshift.brokers.redis.transport import buffer as module
from flask_nightshift.brokers.redis.transport.buffer import Buffer


class Message(NamedTuple):
    number: int


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_messages_are_due_when_none_was_delivered_for_a_tenth_of_a_second(now: list[float]) -> None:
    buffer = Buffer[Message]()
    assert buffer.due_in() is None
    buffer.add(map(Message, range(3)))
    now[0] += 0.09
    assert buffer.due_in() == pytest.approx(0.01)
    buffer.take()
    assert buffer.due_in() == pytest.approx(0.1)
    now[0] += 0.2
    assert buffer.due_in() == pytest.approx(-0.1)


def test_what_leaves_is_not_delivered_and_stays_due_until_it_has_been_returned(now: list[float]) -> None:
    buffer = Buffer[Message]()
    buffer.add(map(Message, range(3)))
    assert buffer.take() == Message(0)
    assert buffer.leave() == [1, 2]
    assert buffer.take() is None
    assert buffer.due_in() == 0.0
    assert buffer.leave() == [1, 2]  # the first return got no answer
    buffer.left()
    assert (buffer.leave(), buffer.due_in()) == ([], None)


def test_a_message_that_could_not_be_delivered_is_the_next_one() -> None:
    buffer = Buffer[Message]()
    buffer.add(map(Message, range(2)))
    first = buffer.take()
    assert first is not None
    buffer.put_back(first)
    assert [buffer.take(), buffer.take(), buffer.take()] == [Message(0), Message(1), None]


def test_two_threads_never_have_the_same_message() -> None:
    buffer = Buffer[Message]()
    returned: list[int] = []
    over = threading.Event()

    def give_back() -> None:
        while not over.is_set():
            returned.extend(buffer.leave())
            buffer.left()

    thread = threading.Thread(target=give_back)
    thread.start()
    delivered = []
    for first in range(0, 30_000, 30):
        buffer.add(map(Message, range(first, first + 30)))
        while (message := buffer.take()) is not None:
            delivered.append(message.number)
    over.set()
    thread.join()
    assert sorted(delivered + returned) == list(range(30_000))
