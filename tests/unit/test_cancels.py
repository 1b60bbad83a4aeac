"""The tombstones that a worker holds in memory: which jobs they concern, and when they go."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from flask_nightshift.brokers.memory.orders import MemoryOrders
from flask_nightshift.brokers.memory.server import MemoryServer
from flask_nightshift.domain.job import JobRef, utcnow
from flask_nightshift.domain.orders import Ordered
from flask_nightshift.domain.tombstones import KEPT, SKEW, Tombstone, tombstone
from flask_nightshift.task.board import board
from flask_nightshift.worker import cancels as module
from flask_nightshift.worker.cancels import Cancels
from servers import wait_for

NOW = utcnow()


class Owner:
    """The part of a worker's consumer that is used, with the orders of ``memory://``."""

    def __init__(self) -> None:
        server = MemoryServer()
        self.orders = MemoryOrders(lambda question: question(server))
        self.services: Any = SimpleNamespace(orders=self.orders)
        self.pool = self.line = None
        self.calls: list[Any] = []

    def soon(self, call: Any, *args: Any) -> None:
        self.calls.append((call, args))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def cancels(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cancels]:
    monkeypatch.setattr(module, "AFTER", 0.3)
    made = Cancels(owner)
    yield made
    made.stop()


def a_job(job_id: str = "job", after: timedelta = timedelta()) -> JobRef:
    return JobRef(job_id, "task", "queue", 1, None, NOW + after)


def hear(owner: Owner, cancels: Cancels, *stones: Tombstone) -> None:
    owner.orders.cancel(stones)
    cancels.heard(Ordered(number=1, pauses={}, tombstones=stones))


def test_a_tombstone_concerns_jobs_that_were_enqueued_before_it(owner: Owner, cancels: Cancels) -> None:
    stone = tombstone("job", NOW, None, kill=False, by="ops")
    hear(owner, cancels, stone)
    assert cancels.of(a_job()) == cancels.of(a_job(after=SKEW)) == stone
    assert cancels.of(a_job(after=SKEW + timedelta(seconds=1))) is None
    assert cancels.of(a_job()._replace(enqueued_at=None)) == stone
    assert cancels.of(a_job("other")) is None


def test_a_tombstone_lasts_from_when_its_job_is_due() -> None:
    later = NOW + timedelta(days=90)
    for due, expires in ((None, NOW), (NOW - timedelta(days=1), NOW), (later, later)):
        assert tombstone("job", NOW, due, kill=False, by="").expires_at == expires + KEPT


def test_it_goes_some_time_after_the_end_of_its_job_with_all_of_that_job(
    owner: Owner, cancels: Cancels
) -> None:
    first, again, other = (
        Tombstone("job", NOW, NOW + KEPT),
        Tombstone("job", NOW + timedelta(seconds=1), NOW + KEPT, kill=True),
        Tombstone("other", NOW, NOW + KEPT),
    )
    hear(owner, cancels, first)
    hear(owner, cancels, again)
    hear(owner, cancels, other)
    board.open()
    board.show("job")
    cancels.has_ended(a_job("unknown"))
    cancels.has_ended(a_job())
    assert not board.shows("job"), "a later job of this id would stop"
    cancels.turn()
    assert owner.orders.count_tombstones() == 3, "its message may come again"
    assert cancels.of(a_job()) == again
    wait_for(lambda: owner.orders.tombstones() == [other], 5, "they stay")
    wait_for(lambda: cancels.known.keys() == {"other"}, 5, "they stay in memory")


def test_a_job_that_is_cancelled_again_while_its_tombstone_goes_stays_known(
    owner: Owner, cancels: Cancels, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear(owner, cancels, Tombstone("job", NOW, NOW + KEPT))
    again = Tombstone("job", NOW + timedelta(seconds=1), NOW + KEPT)
    remove = owner.orders.remove_tombstones

    def meanwhile(stones: Any) -> None:
        remove(stones)
        hear(owner, cancels, again)

    monkeypatch.setattr(owner.orders, "remove_tombstones", meanwhile)
    cancels.has_ended(a_job())
    wait_for(lambda: cancels.known.get("job") == again, 5, "it is forgotten")
    assert owner.orders.tombstones() == [again]


def test_a_worker_that_ends_removes_what_is_left_at_once(owner: Owner, cancels: Cancels) -> None:
    hear(owner, cancels, Tombstone("job", NOW, NOW + KEPT), Tombstone("waits", NOW, NOW + KEPT))
    cancels.has_ended(a_job())
    cancels.stop()
    assert [each.job_id for each in owner.orders.tombstones()] == ["waits"]


def test_many_tombstones_are_forgotten_when_other_workers_have_removed_them(
    owner: Owner, cancels: Cancels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY", 5)
    cancels = Cancels(owner)
    stones = [Tombstone(f"job {number}", NOW, NOW + KEPT) for number in range(6)]
    hear(owner, cancels, *stones[:5])
    owner.orders.remove_tombstones(stones[:3])
    assert len(cancels.known) == 5
    hear(owner, cancels, stones[5])
    wait_for(lambda: cancels.known.keys() == {each.job_id for each in stones[3:]}, 5, "they stay")
    cancels.stop()
