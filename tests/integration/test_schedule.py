"""Beat's memory: what it goes on from after a restart, and while the database is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import BaseSchedule, crontab, schedule
from opsapp import Ops, opened

from flask_nightshift.schedule import JobScheduler
from servers import Valkey

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Clock:
    """The time that the schedules of a test go by."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


class Beats:
    """Lives of Beat, one after the other, with one entry, ``often``."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        self.scheduler: JobScheduler | None = None

    def live(self) -> JobScheduler:
        """A new life; the one before is just gone."""
        self.scheduler = JobScheduler(self._ops.runtime.celery)
        return self.scheduler

    def turn(self) -> int:
        """A turn of the loop; how many jobs it enqueued."""
        assert self.scheduler is not None
        before = self._ready()
        self.scheduler.tick()
        return self._ready() - before

    def _ready(self) -> int:
        return self._ops.runtime.broker.depths(["mail"])[0].ready


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
            ops.runtime.celery.conf.beat_schedule = {"often": entry}
            return Beats(ops)

        yield make


def test_an_entry_whose_first_tick_is_further_away_than_the_next_restart_runs(
    clock: Clock, beats: Callable[[BaseSchedule], Beats]
) -> None:
    lives = beats(schedule(timedelta(days=7), nowfun=clock))
    ran = []
    for _ in range(8):
        lives.live()
        ran.append(lives.turn())
        clock.at += timedelta(days=2)
    assert ran == [0, 0, 0, 0, 1, 0, 0, 0]


def test_the_first_tick_of_an_entry_that_falls_into_a_downtime_runs_once(
    clock: Clock, beats: Callable[[BaseSchedule], Beats]
) -> None:
    lives = beats(crontab(minute="30", hour="3", nowfun=clock))
    lives.live()
    assert lives.turn() == 0
    clock.at += timedelta(days=1)
    lives.live()
    assert [lives.turn(), lives.turn()] == [1, 0]
