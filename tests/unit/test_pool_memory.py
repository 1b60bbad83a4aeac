"""What the processes of a pool share: slots, rings, tickets, the fence, the queue and the reports."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.worker.pools.shared import memory, support
from flask_nightshift.worker.pools.shared import queue as queues
from flask_nightshift.worker.pools.shared import ring as rings
from flask_nightshift.worker.pools.shared.fence import OPEN, Fence, now
from flask_nightshift.worker.pools.shared.limits import Limit, Limits
from flask_nightshift.worker.pools.shared.queue import JobQueue, Taken
from flask_nightshift.worker.pools.shared.reports import Reports
from flask_nightshift.worker.pools.shared.ring import End, Kind, Ring
from flask_nightshift.worker.pools.shared.slot import Mark, Phase, Slot
from flask_nightshift.worker.pools.shared.tickets import TICKETS, Tickets


@contextmanager
def forked(body: Callable[[], object]) -> Iterator[int]:
    """Run ``body`` in a child, again and again until it is killed."""
    pid = os.fork()
    if not pid:
        try:
            while True:
                body()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# -- slots -------------------------------------------------------------------------------------------------


def test_a_slot_says_how_far_a_child_is() -> None:
    slot = Slot()
    assert slot.read(7) is None
    slot.mark(5)
    assert slot.read(7) == Mark(7, 5, Phase.MARKED, 0)
    slot.run(5, 123)
    assert slot.read(7) == Mark(7, 5, Phase.RUNS, 123)
    slot.end(5)
    assert slot.read(7) == Mark(7, 5, Phase.RETURNED, 123)
    slot.clear()
    assert slot.read(7) is None


def test_a_slot_that_is_written_meanwhile_is_read_whole() -> None:
    """Each reading shows a ticket with its own start; ``struct.pack_into`` would show zeros in between."""
    slot = Slot()
    slot.mark(1)
    slot.run(1, 1)

    def write() -> None:
        for ticket in range(1, 5000):
            slot.mark(ticket)
            slot.run(ticket, ticket)

    seen: set[int] = set()
    with forked(write):
        begin = time.monotonic()
        while time.monotonic() < begin + 0.5 or (len(seen) <= 10 and time.monotonic() < begin + 10):
            mark = slot.read(7)
            assert mark
            assert mark.ticket == mark.started or mark.phase is Phase.MARKED
            seen.add(mark.ticket)
    assert len(seen) > 10


def test_a_barrier_can_be_crossed_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_ORDERED", False)
    for _ in range(3):
        memory.barrier()


# -- rings -------------------------------------------------------------------------------------------------

sizes = st.integers(0, rings.LARGEST)


@given(st.lists(st.tuples(sizes, st.booleans()), max_size=60))
def test_a_ring_gives_out_what_was_put_in(steps: list[tuple[int, bool]]) -> None:
    ring = Ring()
    expected: list[End] = []
    for ticket, (size, take) in enumerate(steps, 1):
        end = End(ticket, Kind.RETURNED, ticket * 2, ticket * 3, bytes([ticket % 256]) * size)
        if not ring.put(end):
            assert sum(len(each.body) + 64 for each in expected) + size > rings.SIZE - 2 * rings.LARGEST
            assert ring.take() == expected
            expected = []
            assert ring.put(end), "an empty ring takes anything"
        expected.append(end)
        if take:
            assert ring.take() == expected
            expected = []
    assert ring.take() == expected
    assert ring.take() == []


def test_a_ring_survives_its_child() -> None:
    ring = Ring()
    pid = os.fork()
    if not pid:
        ring.put(End(1, Kind.RAISED, 2, 3, b"why"))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert ring.take() == [End(1, Kind.RAISED, 2, 3, b"why")]


def test_a_ring_that_is_written_meanwhile_is_read_in_order() -> None:
    ring = Ring()
    numbers = iter(range(1, 10**9))
    current = [next(numbers)]

    def write() -> None:
        if ring.put(End(current[0], Kind.RETURNED, current[0], 0, b"%d" % current[0] * (current[0] % 50))):
            current[0] = next(numbers)

    expected = 1
    with forked(write):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            for each in ring.take():
                assert each == End(expected, Kind.RETURNED, expected, 0, b"%d" % expected * (expected % 50))
                expected += 1
    assert expected > 1000


# -- tickets and the fence ---------------------------------------------------------------------------------


def test_a_ticket_is_valid_from_its_issue_until_it_is_void() -> None:
    tickets = Tickets()
    assert not tickets.is_valid(5)
    tickets.issue(5)
    assert tickets.is_valid(5)
    assert not tickets.is_valid(5 + TICKETS)
    tickets.void(5 + TICKETS)
    assert tickets.is_valid(5)
    tickets.issue(5 + TICKETS)
    assert not tickets.is_valid(5)
    tickets.void(5)
    assert tickets.is_valid(5 + TICKETS)
    tickets.void(5 + TICKETS)
    assert not tickets.is_valid(5 + TICKETS)


def test_a_fence_is_open_until_its_time() -> None:
    fence = Fence()
    assert fence.is_open()
    fence.open_until(now())
    assert not fence.is_open()
    fence.open_until(now() + 10**9)
    assert fence.is_open()
    fence.open_until(OPEN)
    assert fence.is_open()


# -- the queue ---------------------------------------------------------------------------------------------


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    queue.close()


def test_jobs_come_in_order_and_the_head_can_be_seen(queue: JobQueue) -> None:
    assert queue.head() is None
    queue.put(1, b"one")
    queue.put(2, bytes(100_000), announce=True)
    assert queue.head() == 1
    assert queue.take(wait=True) == Taken(1, False, b"one")
    assert queue.head() == 2, "a parcel"
    assert queue.take(wait=True) == Taken(2, True, bytes(100_000))
    with pytest.raises(BlockingIOError):
        queue.take(wait=False)


def test_a_full_queue_says_so_and_loses_nothing(queue: JobQueue) -> None:
    put = 0
    while queue.put(put + 1, bytes(5000)):
        put += 1
    assert put > 5
    assert [taken.ticket for _ in range(put) if (taken := queue.take(wait=True))] == list(range(1, put + 1))
    assert queue.put(put + 1, b"")


def test_a_child_that_is_to_leave_and_a_nudge(queue: JobQueue) -> None:
    queue.nudge()
    queue.put(1, b"")
    queue.nudge()
    queue.leave()
    assert queue.take(wait=True) == Taken(1, False, b"")
    assert queue.head() == 0
    assert queue.take(wait=True) is None


def test_the_end_of_the_parent_is_the_end_of_the_queue(queue: JobQueue) -> None:
    queue.put(1, b"last")
    queue.close_parents_end()
    assert queue.take(wait=True)
    assert queue.take(wait=True) is None


def test_a_message_that_is_not_whole_is_an_error(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.put(1, bytes(5000))
    queue._buffer = queue._buffer[:100]
    with pytest.raises(OSError, match="cut off"):
        queue.take(wait=True)


def test_what_is_too_large_for_now_stays_with_the_caller(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert not queue.put(1, bytes(queues.LARGEST))


def test_any_other_trouble_is_raised(queue: JobQueue) -> None:
    queue._out.close()
    with pytest.raises(BrokenPipeError):
        queue.put(1, b"")


def test_each_datagram_goes_to_one_child_and_those_unread_survive_a_kill(queue: JobQueue) -> None:
    """Children note what they take; what the killed ones did not take the next ones do."""
    total = 400
    seen = memory.shared_words(total + 1)

    def take() -> None:
        taken = queue.take(wait=True)
        if taken:
            seen[taken.ticket] += 1
            time.sleep(0.0003)

    put = 0
    end = time.monotonic() + 20
    while (taken := sum(seen)) < total - 20 and time.monotonic() < end:
        with forked(take), forked(take):
            for _ in range(50):
                put += put < total and queue.put(put + 1, bytes(500))
            while sum(seen) < min(taken + 40, total - 20) and time.monotonic() < end:
                time.sleep(0.0005)
    assert max(seen) == 1
    assert sum(seen) >= total - 20, "a few were in the hands of a child that was killed"


# -- reports -----------------------------------------------------------------------------------------------


def test_news_and_parcels_arrive() -> None:
    reports = Reports()
    try:
        reports.clear()
        reports.tell()
        reports.tell()
        assert os.eventfd_read(reports.news) == 2
        assert reports.body(1) is None
        reports.send(1, bytes(100_000))
        reports.send(2, b"x" * 100_000)
        assert reports.body(2) == b"x" * 100_000
        assert reports.body(1) == bytes(100_000)
        assert reports.body(1) is None
    finally:
        reports.close()


def test_a_child_waits_for_a_parent_that_does_not_read() -> None:
    reports = Reports()
    reports._child.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

    def send() -> None:
        for number in range(50):
            reports.send(number, b"%d" % number)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        thread.join(0.05)
        assert thread.is_alive()
        end = time.monotonic() + 10
        while thread.is_alive() and time.monotonic() < end:
            reports.receive()
        thread.join(1)
        assert [reports.body(n) for n in range(50)] == [b"%d" % n for n in range(50)]
    finally:
        reports.close()


# -- limits and support ------------------------------------------------------------------------------------


def test_each_limit_is_reached_once() -> None:
    limits = Limits.of(100, soft=3, hard=5)
    assert limits.next == 103
    assert limits.reached(102.9) is None
    assert limits.reached(103) is Limit.SOFT
    assert limits.reached(104) is None
    assert limits.next == 105
    assert limits.reached(105) is Limit.HARD
    assert limits.reached(200) is None
    assert limits.next == math.inf


@pytest.mark.parametrize(("soft", "hard", "first"), [(None, 5, 5), (3, None, 3), (9, 5, 5), (5, 5, 5)])
def test_one_limit(soft: float | None, hard: float | None, first: float) -> None:
    limits = Limits.of(0, soft, hard)
    assert limits.next == first
    assert limits.reached(first) is (Limit.HARD if first == hard else Limit.SOFT)
    assert limits.next == math.inf


def test_both_limits_at_once_are_the_hard_one() -> None:
    assert Limits.of(0, soft=1, hard=2).reached(5) is Limit.HARD


def test_elsewhere_celerys_pool_runs_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(1, "seccomp")

    assert support.supported()
    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert not support.supported.__wrapped__()
    monkeypatch.undo()
    monkeypatch.setattr("sys.platform", "darwin")
    assert not support.supported.__wrapped__()
