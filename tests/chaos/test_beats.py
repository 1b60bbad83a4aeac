"""The short form of the faults of Beats for ``make test``; ``python -m chaos`` has the long form.

One Beat runs in the worker. The other one has a clock that is 40 s ahead, dies, freezes, and is set back an hour.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .beat_faults import APART, HOUR
from .ticks import Ticks, account

PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def ticks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ticks]:
    broker, database = request.param
    server = request.getfixturevalue(broker)
    url = f"sqlite:///{tmp_path}/history.sqlite3"
    if database == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
    made = Ticks(tmp_path, server.fresh_url(), url, worker_has_beat=True)
    yield made
    made.close()


def test_no_tick_is_missing_and_none_comes_twice(ticks: Ticks) -> None:
    first = ticks.beat(1, clock=APART)
    time.sleep(1.5)
    first.kill_tree()
    second = ticks.beat(1)
    ticks.worker.signal(signal.SIGSTOP)
    time.sleep(1.5)
    ticks.worker.signal(signal.SIGCONT)
    ticks.clocks[1].set(-HOUR)
    second.signal(signal.SIGSTOP)
    time.sleep(1.0)
    second.signal(signal.SIGCONT)
    time.sleep(1.0)
    accounts = ticks.accounts()
    assert accounts[0].entry == "second"
    assert accounts[0].due > 4
    assert ticks.lines("beat.clock_differs"), "no clock was wrong"
    assert not [text for each in accounts for text in each.broken]


def test_an_account_finds_what_is_missing_twice_or_odd() -> None:
    ran = Counter({10.5: 1, 11.5: 2, 13.5: 1, 14.25: 1})
    found = account("second", ran, 15.6)
    assert found.due == 6
    assert list(found.missing) == [12.5, 14.5, 15.5]
    assert list(found.twice) == [11.5]
    assert list(found.odd) == [14.25]
