"""What Beats share in the database: where an entry begins, and which Beat claims a tick."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from flask_nightshift.domain.job import utcnow
from flask_nightshift.domain.tick import Claim, Tick, Verdict
from flask_nightshift.store import Store, schedules, tick_claims
from flask_nightshift.store.schedules import Adopted, Begin, Progress
from flask_nightshift.store.tables import schedules as table

NOW = utcnow().replace(microsecond=250_000) - timedelta(hours=1)
MINUTE = timedelta(minutes=1)
NAME = "nightly " * 100
"""Longer than a key."""


def begin(fingerprint: str = "a", last: datetime = NOW) -> Begin:
    return Begin(fingerprint, last, {"task": "t", "queue": None, "spec": "every 60 s", "timezone": None})


def adopt(store: Store, each: Begin, at: datetime = NOW) -> Adopted:
    return schedules.adopt(store, {NAME: each}, at)[NAME]


def claim(store: Store, due: datetime, after: datetime | None = None) -> Claim:
    with store.begin() as connection:
        return tick_claims.claim(connection, Tick(NAME, due, after), f"job-{due}", due + MINUTE)


def test_an_entry_begins_where_it_is_first_seen_and_goes_on_there(store: Store) -> None:
    row, changed = adopt(store, begin())
    assert not changed
    assert (row.last_due_at, row.anchor, row.fingerprint) == (NOW, NOW.replace(microsecond=0), "a")
    assert (row.task, row.spec, row.total_run_count) == ("t", "every 60 s", 0)
    assert adopt(store, begin(last=NOW + MINUTE)) == (row, False)
    assert list(schedules.read(store).values()) == [row]


def test_a_changed_schedule_begins_anew_once(store: Store) -> None:
    adopt(store, begin())
    later = begin("b", NOW + 5 * MINUTE)
    row, changed = adopt(store, later)
    assert changed
    assert (row.last_due_at, row.anchor) == (later.last, later.last.replace(microsecond=0))
    assert adopt(store, begin("b", NOW + 6 * MINUTE)) == (row, False)


def test_a_last_tick_far_in_the_future_becomes_the_present(store: Store) -> None:
    adopt(store, begin(last=NOW + timedelta(days=1)))
    assert adopt(store, begin(), NOW).row.last_due_at == NOW
    adopt(store, begin("b", NOW + timedelta(minutes=50)))
    assert adopt(store, begin("b"), NOW).row.last_due_at == NOW + timedelta(minutes=50)


def test_an_entry_of_an_earlier_version_goes_on_after_its_last_run(store: Store) -> None:
    with store.begin() as connection:
        old = {"name": "often", "last_run_at": NOW - MINUTE, "total_run_count": 7, "fingerprint": "a"}
        connection.execute(insert(table).values(old))
    (row, changed), *_ = schedules.adopt(store, {"often": begin()}, NOW).values()
    assert not changed
    assert (row.last_due_at, row.anchor, row.total_run_count) == (NOW - MINUTE, NOW - MINUTE, 7)


def test_one_claim_of_a_tick_succeeds(store: Store) -> None:
    adopt(store, begin())
    assert claim(store, NOW + MINUTE) == Claim(Verdict.CLAIMED)
    assert claim(store, NOW + MINUTE) == Claim(Verdict.TAKEN, NOW + MINUTE)
    assert claim(store, NOW + 3 * MINUTE).verdict is Verdict.CLAIMED
    assert claim(store, NOW + 2 * MINUTE) == Claim(Verdict.TAKEN, NOW + 3 * MINUTE)
    row = adopt(store, begin()).row
    assert (row.last_due_at, row.last_run_at, row.next_at) == (
        NOW + 3 * MINUTE,
        NOW + 3 * MINUTE,
        NOW + 4 * MINUTE,
    )
    assert (row.total_run_count, row.last_job_id) == (2, f"job-{NOW + 3 * MINUTE}")


def test_a_tick_of_an_entry_without_a_row_is_claimed(store: Store) -> None:
    assert claim(store, NOW).verdict is Verdict.CLAIMED
    assert claim(store, NOW).verdict is Verdict.TAKEN


def test_a_tick_of_the_future_is_not_claimed(store: Store) -> None:
    adopt(store, begin())
    found = claim(store, utcnow() + MINUTE)
    assert found.verdict is Verdict.EARLY
    assert found.last
    assert abs(found.last - utcnow()) < MINUTE
    assert adopt(store, begin()).row.total_run_count == 0


def test_a_last_run_is_compared_and_set(store: Store) -> None:
    adopt(store, begin())
    assert claim(store, NOW + MINUTE, after=NOW).verdict is Verdict.CLAIMED
    assert claim(store, NOW + 2 * MINUTE, after=NOW) == Claim(Verdict.TAKEN, NOW + MINUTE)
    assert claim(store, NOW + 2 * MINUTE, after=NOW + MINUTE).verdict is Verdict.CLAIMED


@pytest.mark.parametrize("ahead", [timedelta(minutes=50), timedelta(days=1)], ids=["an hour", "a day"])
def test_a_claim_of_a_clock_that_was_wrong(store: Store, ahead: timedelta) -> None:
    adopt(store, begin(last=utcnow() + ahead))
    expected = Verdict.CLAIMED if ahead > timedelta(hours=2) else Verdict.TAKEN
    assert claim(store, NOW).verdict is expected


def test_what_an_operator_ordered_is_looked_at_in_the_claim(store: Store) -> None:
    adopt(store, begin())
    assert schedules.pause(store, NAME, "ann", NOW)
    paused = schedules.pause(store, NAME, "bob", NOW + MINUTE)
    assert paused
    assert (paused.paused_by, paused.paused_at) == ("ann", NOW)
    assert claim(store, NOW + MINUTE).verdict is Verdict.LEFT_OUT
    resumed = schedules.resume(store, NAME, NOW + 5 * MINUTE)
    assert resumed
    assert (resumed.paused_at, resumed.paused_by, resumed.last_due_at) == (None, None, NOW + 5 * MINUTE)
    again = schedules.resume(store, NAME, NOW + 50 * MINUTE)
    assert again == resumed, "it was not paused"
    assert schedules.skip(store, NAME, NOW + 6 * MINUTE)
    assert claim(store, NOW + 6 * MINUTE).verdict is Verdict.LEFT_OUT
    assert claim(store, NOW + 7 * MINUTE).verdict is Verdict.CLAIMED
    assert schedules.pause(store, "unknown", "ann", NOW) is None
    schedules.ensure(store, "unknown", NOW)
    assert schedules.pause(store, "unknown", "ann", NOW)


def advance(store: Store, **done: Any) -> None:
    schedules.advance(store, {NAME: Progress(**done)}, NOW)


def test_what_several_beats_did_adds_up_and_goes_forward_only(store: Store) -> None:
    adopt(store, begin())
    advance(store, last_due_at=NOW + 2 * MINUTE, last_run_at=NOW + 2 * MINUTE, last_job_id="two", runs=1)
    advance(store, last_due_at=NOW + MINUTE, last_run_at=NOW + MINUTE, last_job_id="one", runs=1)
    row = adopt(store, begin()).row
    assert (row.last_due_at, row.last_job_id, row.total_run_count) == (NOW + 2 * MINUTE, "two", 2)
    advance(store, last_due_at=NOW + 3 * MINUTE, next_at=NOW + 4 * MINUTE)
    row = adopt(store, begin()).row
    assert (row.last_due_at, row.next_at) == (NOW + 3 * MINUTE, NOW + 4 * MINUTE)
    assert (row.last_run_at, row.last_job_id, row.total_run_count) == (NOW + 2 * MINUTE, "two", 2)
    advance(store, last_due_at=NOW + timedelta(days=1))
    advance(store, last_due_at=NOW + 4 * MINUTE)
    assert adopt(store, begin()).row.last_due_at == NOW + 4 * MINUTE, (
        "the one of a wrong clock does not count"
    )
