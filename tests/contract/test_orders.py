"""Orders for all workers: every broker, or the database beside it, keeps them alike."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from broker_harness import Harness, a_job
from flask_nightshift.brokers.orders import UNKNOWN, OrderBook, expire_tombstones
from flask_nightshift.domain.job import utcnow
from flask_nightshift.domain.orders import Ordered, Pause
from flask_nightshift.domain.tombstones import KEPT, Tombstone, latest
from flask_nightshift.errors import BrokerUnavailable, DatabaseUnavailable
from flask_nightshift.store import Store
from flask_nightshift.store.orders import DatabaseOrders


@pytest.fixture
def orders(harness: Harness, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OrderBook]:
    held = harness.broker.orders()
    if held is not None:
        yield held
        return
    store = Store(request.getfixturevalue("postgres").fresh_url())
    store.migrate()
    yield DatabaseOrders(store)
    store.close()


def test_an_order_is_seen_once_by_each_who_asks(orders: OrderBook) -> None:
    nothing = orders.read(UNKNOWN)
    assert nothing == Ordered(number=0, pauses={})
    assert orders.read(0) is None
    pause = Pause("mail", utcnow(), "ops@host", "a größer deploy")
    assert orders.pause(pause) is None

    first = orders.read(0)
    assert first is not None
    assert first.pauses == {"mail": pause}
    assert orders.read(first.number) is None
    assert orders.pauses() == {"mail": pause}


def test_numbers_ascend_and_the_last_word_counts(orders: OrderBook) -> None:
    early, late = (Pause("mail", utcnow() + timedelta(seconds=n), f"{n}@host") for n in (0, 1))
    other = Pause("celery", utcnow(), "x@host")
    assert orders.pause(early) is None
    one = orders.read(UNKNOWN)
    assert orders.pause(late) == early
    two = orders.read(UNKNOWN)
    orders.pause(other)
    assert list(orders.pauses()) == ["celery", "mail"]
    assert orders.resume("mail") == late
    assert orders.resume("mail") is None
    three = orders.read(UNKNOWN)
    assert one is not None
    assert two is not None
    assert three is not None
    assert 0 < one.number < two.number < three.number
    assert three.pauses == {"celery": other}


def test_tombstones_are_read_once_by_each_who_asks_and_stay_until_they_are_removed(orders: OrderBook) -> None:
    now = utcnow()
    one, kills, late = (
        Tombstone("one", now, now + KEPT, by="ops@host"),
        Tombstone("größer, '[*?]'", now, now + timedelta(hours=1), kill=True, by="ops@host"),
        Tombstone("late", now + timedelta(seconds=1), now + KEPT),
    )
    orders.cancel([one, kills])
    first = orders.read(0)
    assert first is not None
    assert set(first.tombstones) == {one, kills}
    orders.cancel([late])
    second = orders.read(first.number)
    assert second is not None
    assert second.number > first.number
    assert second.tombstones == (late,)
    assert orders.read(second.number) is None
    orders.cancel([])
    assert orders.read(second.number) is None, "nothing was ordered"
    everything = orders.read(UNKNOWN)
    assert everything is not None
    assert set(everything.tombstones) == {one, kills, late} == set(orders.tombstones())
    assert orders.tombstones()[-1] == late

    orders.remove_tombstones([one, one])
    assert (set(orders.tombstones()), orders.count_tombstones()) == ({kills, late}, 2)
    orders.remove_tombstones([])
    assert expire_tombstones(orders, now + timedelta(minutes=59)) == 0
    assert expire_tombstones(orders, now + timedelta(minutes=61)) == 1
    assert orders.tombstones() == [late]


def test_a_job_that_is_cancelled_again_keeps_the_order_to_kill_it(orders: OrderBook) -> None:
    now = utcnow()
    first = Tombstone("job", now, now + KEPT, kill=True, by="a")
    again = Tombstone("job", now + timedelta(seconds=5), now + KEPT, by="b")
    orders.cancel([first])
    known = orders.read(UNKNOWN)
    assert known is not None
    orders.cancel([again])
    assert latest(orders.tombstones())["job"].kill
    changed = orders.read(known.number)
    assert changed is not None
    assert [each.by for each in changed.tombstones] == ["b"]
    orders.remove_tombstones([first])  # its worker does not know yet that it was cancelled again
    assert [each.by for each in orders.tombstones()] == ["b"]
    orders.remove_tombstones([first, again])
    assert orders.count_tombstones() == 0


def test_orders_that_cannot_be_read_are_an_outage(harness: Harness, tmp_path: Path) -> None:
    held = harness.broker.orders()
    if held is None:
        held = DatabaseOrders(Store(f"sqlite:///{tmp_path}/not-migrated.sqlite3"))
    else:
        harness.server.stop()
    with pytest.raises((BrokerUnavailable, DatabaseUnavailable)):
        held.read(UNKNOWN)


def test_a_broker_that_skips_paused_queues_gives_out_nothing_of_them(
    harness: Harness, orders: OrderBook
) -> None:
    if not harness.can.skips_paused:
        pytest.skip("its workers end their consumers")
    orders.pause(Pause(harness.queue, utcnow(), "ops@host"))
    ready, delayed = a_job(), a_job()
    harness.broker.publish(ready, harness.queue)
    harness.broker.publish(delayed, harness.queue, due=utcnow() + timedelta(seconds=0.3))
    with harness.consumer() as receive:
        assert receive(1.2) is None
        (depth,) = harness.broker.depths([harness.queue])
        assert (depth.ready, depth.delayed, depth.leased) == (2, 0, 0)  # it became due meanwhile
        orders.resume(harness.queue)
        found = [receive(), receive()]
        assert [message.headers["id"] for message in found] == [
            each.headers["id"] for each in (ready, delayed)
        ]
        for message in found:
            message.ack()


def test_waiting_jobs_are_taken_out_of_their_queue_and_no_others(harness: Harness) -> None:
    waiting = harness.broker.waiting_jobs()
    if waiting is None:
        pytest.skip("its workers drop them")
    names = ("a", "b", "*", "delayed", "urgent", "kept", "kept-delayed")
    jobs = {name: a_job(id=f"job-{name}") for name in names}
    for name, job in jobs.items():
        job.properties["priority"] = 9 if name == "urgent" else 0
        due = utcnow() + timedelta(hours=1) if "delayed" in name else None
        harness.broker.publish(job, harness.queue, due=due)
    assert waiting.take(harness.queue, {"job-nobody": None}) == []
    assert waiting.take("elsewhere", {"job-a": None}) == []
    gone = dict.fromkeys(["job-a", "job-b", "job-urgent", "job-nobody"])
    taken = waiting.take(harness.queue, {**gone, "job-delayed": utcnow() + timedelta(hours=1)})
    assert {each.job_id for each in taken} == {*gone, "job-delayed"} - {"job-nobody"}
    assert {each.envelope.headers["id"] for each in taken} == {each.job_id for each in taken}
    assert [each.job_id for each in waiting.take(harness.queue, {"job-*": None})] == ["job-*"]
    (depth,) = harness.broker.depths([harness.queue])
    assert (depth.ready, depth.delayed) == ((1, 1) if harness.can.keeps_delays else (2, None))
    with harness.consumer() as receive:
        message = receive()
        assert message.headers["id"] == "job-kept"
        assert waiting.take(harness.queue, {"job-kept": None}) == [], "a worker has it"
        message.ack()


def test_a_job_that_two_cancel_at_once_is_taken_once(harness: Harness) -> None:
    waiting = harness.broker.waiting_jobs()
    if waiting is None:
        pytest.skip("its workers drop them")
    wanted: dict[str, datetime | None] = {}
    for number in range(60):
        job, due = a_job(), utcnow() + timedelta(hours=1) if number % 2 else None
        harness.broker.publish(job, harness.queue, due=due)
        wanted[job.headers["id"]] = due
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: waiting.take(harness.queue, wanted), range(3)))
    assert sorted(each.job_id for taken in found for each in taken) == sorted(wanted)
