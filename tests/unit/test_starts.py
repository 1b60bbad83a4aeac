"""Which deliveries are noted as begun, and in how many round trips."""

from __future__ import annotations

from itertools import chain

import pytest

from flask_nightshift.brokers.redis.transport import starting
from flask_nightshift.brokers.redis.transport.starting import SOON, Starts


class Server:
    """What waits in the buffer, and which numbers each round trip has noted; ``refuses``: the lease is lost."""

    def __init__(self, waiting: list[int]) -> None:
        self.waiting = waiting
        self.notes: list[list[int]] = []
        self.refuses = False

    def coming(self, count: int) -> list[int]:
        return self.waiting[:count]

    def note(self, numbers: list[int]) -> bool:
        self.notes.append(numbers)
        return not self.refuses


class Clock:
    """The time of ``starting``."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(starting, "monotonic", clock)
    return clock


def with_pace(server: Server, clock: Clock, pace: int, *, ahead: bool = True) -> Starts:
    """The starts of a worker that begins ``pace`` jobs in ``SOON``."""
    starts = Starts(server.coming, ahead=ahead)
    for number in range(1000, 1000 + pace):
        starts.delivered(number, noted=True, unproven=False)
        assert starts.begin(number, server.note)
    clock.now += SOON
    assert server.notes == []
    return starts


def deliver_all(starts: Starts, server: Server) -> None:
    """Each message is delivered, and begins at once, as in a pool with places."""
    while server.waiting:
        number = server.waiting.pop(0)
        starts.delivered(number, noted=False, unproven=False)
        assert starts.begin(number, server.note)


def test_jobs_that_begin_as_they_are_delivered_are_noted_together(clock: Clock) -> None:
    """A round trip for each would cost a far server's worker nine tenths of its rate."""
    server = Server(list(range(1, 101)))
    starts = with_pace(server, clock, 20)
    deliver_all(starts, server)
    assert len(server.notes) == 5
    assert sorted(chain.from_iterable(server.notes)) == list(range(1, 101))


def test_without_looking_ahead_each_is_noted_alone(clock: Clock) -> None:
    server = Server([1, 2, 3])
    starts = with_pace(server, clock, 20, ahead=False)
    deliver_all(starts, server)
    assert server.notes == [[1], [2], [3]]


def test_an_unproven_job_is_noted_alone(clock: Clock) -> None:
    server = Server([2, 3])
    starts = with_pace(server, clock, 20)
    starts.delivered(1, noted=False, unproven=True)
    assert starts.begin(1, server.note)
    assert server.notes == [[1]]


def test_what_was_returned_from_the_buffer_is_forgotten(clock: Clock) -> None:
    server = Server([2, 3, 4])
    starts = with_pace(server, clock, 20)
    starts.delivered(1, noted=False, unproven=False)
    assert starts.begin(1, server.note)
    server.waiting = [5, 6]  # 2 to 4 went back to the queue
    deliver_all(starts, server)
    assert server.notes == [[1, 2, 3, 4], [5, 6]]
    assert not starts._noted_early & {2, 3, 4}


def test_a_lost_lease_notes_nothing(clock: Clock) -> None:
    server = Server([2, 3])
    starts = with_pace(server, clock, 20)
    starts.delivered(1, noted=False, unproven=False)
    server.refuses = True
    assert not starts.begin(1, server.note)
    server.refuses = False
    deliver_all(starts, server)
    assert server.notes == [[1, 2, 3], [2, 3]]


def test_a_message_that_is_delivered_while_the_server_answers_counts_as_noted(clock: Clock) -> None:
    server = Server([2])
    starts = with_pace(server, clock, 20)
    starts.delivered(1, noted=False, unproven=False)

    def note(numbers: list[int]) -> bool:
        starts.delivered(2, noted=False, unproven=False)
        return server.note(numbers)

    assert starts.begin(1, note)
    assert starts.begin(2, server.note)
    assert server.notes == [[1, 2]]
