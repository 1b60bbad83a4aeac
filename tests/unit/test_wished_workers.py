"""How many workers queues need."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flask_nightshift.domain.job import Outcome
from flask_nightshift.domain.orders import Pause
from flask_nightshift.journal import BUCKETS, TotalsRow
from flask_nightshift.observe.queues import QueueRow
from flask_nightshift.observe.scaling import Need, Scale, need, places_of, runtime_of

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
PAUSE = Pause("mail", NOW, "ada")


def totals(queue: str, count: int, runtime: float, measured: int | None = None) -> TotalsRow:
    buckets = (count if measured is None else measured, *(0,) * len(BUCKETS))
    return TotalsRow("t", queue, Outcome.SUCCEEDED, count, runtime, 0.0, buckets, buckets)


def wished(
    row: QueueRow, runtime: float | None = None, *, target: float = 30, places: float = 4
) -> int | None:
    recent = [totals(row.queue, 10, 10 * runtime)] if runtime is not None else []
    return Scale(NOW, target, places, [need(row, recent, [], target)]).wished


@pytest.mark.parametrize(("row", "runtime", "workers"), [
    (QueueRow("mail", ready=0, rate=0.0), None, 0),
    (QueueRow("mail", ready=0, rate=0.0, leased=1), None, 1),  # it runs
    (QueueRow("mail", ready=0, rate=0.0, running=1), None, 1),  # it may run: RabbitMQ
    (QueueRow("mail", ready=0, rate=0.0, leased=0, running=1), None, 0),  # one of another queue
    (QueueRow("mail", ready=0, rate=0.0, delayed=1), None, 1),
    (QueueRow("mail", ready=1, rate=0.0), None, 1),  # nothing is known of how long it runs
    (QueueRow("mail", ready=0, rate=8.0), 1.0, 2),  # eight places are busy
    (QueueRow("mail", ready=0, rate=8.1), 1.0, 3),
    (QueueRow("mail", ready=600, rate=0.0), 1.0, 5),  # twenty places for thirty seconds
    (QueueRow("mail", ready=600, rate=8.0), 1.0, 7),
    (QueueRow("mail", ready=600, rate=0.0, pause=PAUSE), 1.0, 0),
    (QueueRow("mail", ready=600, rate=0.0, leased=2, pause=PAUSE), 1.0, 1),
])  # fmt: skip
def test_the_wish(row: QueueRow, runtime: float | None, workers: int) -> None:
    assert wished(row, runtime) == workers


def test_a_shorter_wait_needs_more_workers_and_more_places_fewer() -> None:
    row = QueueRow("mail", ready=600, rate=0.0)
    assert [wished(row, 1.0, target=target) for target in (300, 30, 3)] == [1, 5, 50]
    assert [wished(row, 1.0, places=places) for places in (1, 8, 0.5)] == [20, 3, 40]


def test_queues_that_share_workers_are_added_up() -> None:
    needs = [Need(QueueRow("a", ready=1, oldest=5.0, rate=1.0), 1.0, 0.6),
             Need(QueueRow("b", ready=2, oldest=9.0, rate=0.0), None, 0.6)]  # fmt: skip
    found = Scale(NOW, 30, 4, needs)
    assert found.wished == 1
    told = found.as_dict()
    assert (told["ready"], told["oldest_seconds"], told["rate_per_second"]) == (3, 9.0, 1.0)
    assert told["time_to_empty_seconds"] is None
    assert Scale(NOW, 30, 4, needs, ("the broker is away",)).as_dict()["wished_workers"] is None


def test_the_runtime_is_the_mean_of_what_was_measured() -> None:
    rows = [totals("mail", 3, 6.0), totals("mail", 5, 2.0, measured=1), totals("slow", 1, 99.0)]
    assert runtime_of("mail", rows) == 2.0
    assert runtime_of("none", rows) is None
    assert need(QueueRow("mail", rate=1.0), [], rows, 30).runtime == 2.0
    assert need(QueueRow("slow", rate=1.0), [totals("slow", 1, 3.0)], rows, 30).runtime == 3.0


def test_the_places_of_a_worker() -> None:
    rows = [QueueRow("a", workers=2, places=8), QueueRow("b", workers=1, places=1), QueueRow("c", workers=0)]
    assert places_of(rows) == 3
    assert places_of(rows[2:]) == 1
