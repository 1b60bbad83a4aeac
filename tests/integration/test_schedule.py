"""Beat's memory: where it continues after a restart, and while the database is down."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import BaseSchedule, crontab, schedule

from beats import Beats, Clock
from opsapp import opened
from servers import Valkey, wait_for


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def beats(
    clock: Clock, valkey: Valkey, tmp_path: Path, database_url: str
) -> Iterator[Callable[[BaseSchedule], Beats]]:
    """Make Beats for a schedule."""
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_DATABASE_URL=database_url) as ops:

        def make(when: BaseSchedule) -> Beats:
            entry: dict[str, Any] = {"task": "mail.send", "schedule": when, "args": (1,)}
            ops.services.celery.conf.beat_schedule = {"often": entry}
            made.append(Beats(ops, clock))
            return made[-1]

        made: list[Beats] = []
        yield make
        for each in made:
            each.end()


def test_an_entry_whose_first_tick_is_further_away_than_the_next_restart_runs(
    clock: Clock, beats: Callable[[BaseSchedule], Beats]
) -> None:
    lives = beats(schedule(timedelta(days=7)))
    ran = []
    for _ in range(8):
        lives.live()
        ran.append(lives.turn())
        clock.at += timedelta(days=2)
    assert ran == [0, 0, 0, 0, 1, 0, 0, 1], "seven days after the last tick was due, not after it ran"


def test_the_first_tick_of_an_entry_that_falls_into_a_downtime_runs_once(
    clock: Clock, beats: Callable[[BaseSchedule], Beats]
) -> None:
    lives = beats(crontab(minute="30", hour="3"))
    lives.live()
    assert lives.turn() == 0
    clock.at += timedelta(days=1)
    lives.live()
    assert [lives.turn(), lives.turn()] == [1, 0]


@pytest.fixture
def frozen(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[None]]:
    """A block in which PostgreSQL hangs."""

    @contextmanager
    def block() -> Iterator[None]:
        server = request.getfixturevalue("postgres")
        server.freeze()
        yield
        server.thaw()

    return block


@pytest.fixture
def hanging(
    database_url: str, frozen: Callable[[], AbstractContextManager[None]]
) -> Callable[[], AbstractContextManager[None]]:
    """A block in which the database does not take what is written."""

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield

    return locked if database_url.startswith("sqlite") else frozen


@pytest.fixture
def away(
    database_url: str, frozen: Callable[[], AbstractContextManager[None]]
) -> Callable[[], AbstractContextManager[None]]:
    """A block in which the database cannot be asked."""

    @contextmanager
    def moved() -> Iterator[None]:
        folder = Path(database_url.removeprefix("sqlite:///")).parent
        elsewhere = folder.rename(folder.with_name("elsewhere"))
        yield
        elsewhere.rename(folder)

    return moved if database_url.startswith("sqlite") else frozen


def test_no_tick_waits_for_a_database_that_hangs(
    clock: Clock,
    beats: Callable[[BaseSchedule], Beats],
    hanging: Callable[[], AbstractContextManager[None]],
) -> None:
    lives = beats(schedule(timedelta(seconds=1)))
    lives.live()
    began = time.monotonic()
    with hanging():
        for _ in range(30):
            clock.at += timedelta(seconds=1)
            assert lives.turn() == 1
    assert time.monotonic() - began < 5

    lives.live()
    assert lives.turn() == 0, "the last tick was forgotten"
    clock.at += timedelta(seconds=60)
    assert [lives.turn(), lives.turn()] == [1, 0]


def test_ticks_missed_in_a_downtime_run_once_the_database_is_back(
    clock: Clock,
    beats: Callable[[BaseSchedule], Beats],
    away: Callable[[], AbstractContextManager[None]],
) -> None:
    lives = beats(schedule(timedelta(days=7)))
    lives.live()
    lives.end()
    clock.at += timedelta(days=8)
    with away():
        lives.live()
        assert lives.turn() == 0
    wait_for(lives.turn, 30, "the missed tick")
    assert lives.turn() == 0
