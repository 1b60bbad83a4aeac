"""Heartbeats of workers and Beat, and the memory of the schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flask_nightshift.domain.job import utcnow
from flask_nightshift.store import Store, heartbeats
from flask_nightshift.store.heartbeats import BeatState, WorkerHeartbeat

NOW = utcnow()


def worker(seen: float = 1, loop: float = 1, pool: str = "prefork", **more: Any) -> WorkerHeartbeat:
    """A worker that reported ``seen`` seconds ago, whose loop turned ``loop`` seconds ago."""
    return WorkerHeartbeat(
        more.pop("name", "w1"), "host", 7, NOW - timedelta(hours=1), NOW - timedelta(seconds=seen),
        NOW - timedelta(seconds=loop), pool=pool, **more,
    )  # fmt: skip


def running(since: float, limit: float | None) -> list[dict[str, Any]]:
    return [{"job_id": "j1", "task": "t", "started_at": NOW.timestamp() - since, "time_limit": limit}]


def test_a_worker_is_seen_as_it_reported_itself(store: Store) -> None:
    beat = worker(busy=running(3, 30), concurrency=4, queues=["celery", "mail"], version="0.1")
    heartbeats.write(store, worker())
    heartbeats.write(store, beat)
    heartbeats.write(store, worker(name="w0"))
    other, row = heartbeats.workers(store, NOW)
    assert (other.name, row.name, row.hostname, row.pid) == ("w0", "w1", "host", 7)
    assert (row.busy, row.concurrency, row.queues, row.version) == (beat.busy, 4, ["celery", "mail"], "0.1")
    assert (row.started_at, row.seen_at, row.loop_at) == (beat.started_at, beat.seen_at, beat.loop_at)
    assert row.healthy
    heartbeats.forget(store, "w1")
    assert [row.name for row in heartbeats.workers(store, NOW)] == ["w0"]


@pytest.mark.parametrize(
    ("beat", "problem"),
    [
        (worker(seen=14, loop=14), ""),
        (worker(seen=20, loop=20), "not heard of for 20 s"),
        (worker(seen=1, loop=40), "its loop has been stuck for 40 s"),
        (worker(seen=1, loop=40, busy=running(40, 300)), "its loop has been stuck for 40 s"),
        (worker(seen=1, loop=40, pool="solo"), "its loop has been stuck for 40 s"),
        (worker(seen=1, loop=40, pool="solo", busy=running(40, 300)), ""),
        (worker(seen=1, loop=40, pool="solo", busy=running(40, None)), ""),
        (worker(seen=1, loop=400, pool="solo", busy=running(400, 300)), "its loop has been stuck for 7 min"),
    ],
    ids=["fresh", "silent", "stuck", "stuck while busy", "solo, idle", "solo, in its time", "solo, no limit",
         "solo, over time"],
)  # fmt: skip
def test_who_is_healthy(beat: WorkerHeartbeat, problem: str) -> None:
    assert heartbeats.problem(beat, NOW) == problem


def test_the_last_tick_is_that_of_any_beat(store: Store) -> None:
    assert heartbeats.beats(store, NOW) == BeatState(None)
    heartbeats.tick(store, "b1", NOW)
    heartbeats.tick(store, "b2", NOW - timedelta(seconds=31))
    heartbeats.tick(store, "b1", NOW + timedelta(seconds=1))
    state = heartbeats.beats(store, NOW + timedelta(seconds=2))
    assert state.last_tick == NOW + timedelta(seconds=1)
    assert state.alive == ("b1",)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_makes_none_alive_for_ever(
    store: Store, ahead: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = utcnow()
    monkeypatch.setattr(heartbeats, "utcnow", lambda: utcnow() + ahead)
    heartbeats.write(store, replace(worker(), seen_at=right + ahead, loop_at=right + ahead))
    heartbeats.tick(store, "beat@wrong", right + ahead)
    monkeypatch.undo()
    (row,), beats = heartbeats.workers(store, right), heartbeats.beats(store, right)
    if store.engine.dialect.name == "sqlite":  # no clock but the one that was wrong, and was set right since
        assert ("future" if ahead > timedelta() else "not heard of") in row.problem
        assert beats.alive == ()
    else:  # the database's own clock
        assert row.problem == ""
        assert beats.alive == ("beat@wrong",)
    for later in (timedelta(minutes=1), timedelta(minutes=30)):
        (row,), beats = heartbeats.workers(store, right + later), heartbeats.beats(store, right + later)
        assert row.problem, "it is dead, and its clock was wrong"
        assert beats.alive == ()
