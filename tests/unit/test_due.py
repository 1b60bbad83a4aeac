"""Which ticks of a series run: a pure function of the series, the last tick, the time and the policy."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab, schedule
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.schedule import ticks
from flask_nightshift.schedule.due import ALL, MOST, ON_TIME, ONCE, SKIP, Due, due
from flask_nightshift.schedule.timing import Cron, Custom, Every, fingerprint, timing_of

APP = Celery(set_as_current=False)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Series = Callable[[datetime], datetime | None]


def every(seconds: float, anchor: datetime = NOON) -> Series:
    timing = Every(timedelta(seconds=seconds))
    return lambda moment: timing.next_after(moment, anchor)


def at(*seconds: float) -> tuple[datetime, ...]:
    return tuple(NOON + timedelta(seconds=each) for each in seconds)


def after(seconds: float) -> datetime:
    return at(seconds)[0]


def test_an_interval_ticks_at_its_anchors_multiples_whenever_it_is_looked_at() -> None:
    series = every(5)
    assert due(series, NOON, after(4.9)) == Due((), NOON, after(5))
    assert due(series, NOON, after(5)) == Due(at(5), after(5), after(10))
    assert due(series, after(5), after(9.99)) == Due((), after(5), after(10))


def test_a_beat_that_lags_runs_each_tick() -> None:
    assert due(every(1), NOON, after(3.5)) == Due(at(1, 2, 3), after(3), after(4))
    assert due(every(1), NOON, after(11)).run == at(*range(1, 12)), "the first is 10 s late"


@pytest.mark.parametrize(
    ("policy", "run"), [(SKIP, at(*range(50, 61))), (ONCE, at(60)), (ALL, at(*range(1, 61)))]
)
def test_after_a_downtime_the_policy_decides(policy: str, run: tuple[datetime, ...]) -> None:
    found = due(every(1), NOON, after(60), policy)
    assert found == Due(run, after(60), after(61), missed=policy != ALL)


def test_skip_leaves_out_a_tick_that_nobody_ran_in_time() -> None:
    assert due(every(3600), NOON, after(3700), SKIP) == Due((), after(3600), after(7200), missed=True)
    assert due(every(3600), NOON, after(3605), SKIP).run == at(3600)


def test_all_is_bounded_and_keeps_the_latest() -> None:
    now = NOON + timedelta(days=400)
    found = due(every(1), NOON, now, ALL)
    assert (len(found.run), found.run[-1], found.missed) == (MOST, now, True)
    minutely = Cron(crontab(app=APP), UTC)
    found = due(lambda moment: minutely.next_after(moment, NOON), NOON, now, ALL)
    assert (len(found.run), found.run[-1], found.next_at) == (MOST, now, now + timedelta(minutes=1))


def test_a_crontab_with_a_deadline_leaves_out_what_is_later() -> None:
    noon = Cron(crontab("0", "12", app=APP), UTC)

    def found(seconds: float) -> Due:
        return due(
            lambda moment: noon.next_after(moment, NOON),
            NOON - timedelta(hours=1),
            after(seconds),
            deadline=timedelta(seconds=600),
        )

    assert found(300).run == (NOON,)
    assert found(900) == Due((), NOON, NOON + timedelta(days=1), missed=True)


@given(
    st.integers(1, 10_000), st.integers(0, 10**6), st.integers(0, 10**6), st.sampled_from([SKIP, ONCE, ALL])
)
def test_no_tick_is_computed_twice_and_on_time_ones_run(step: int, last: int, more: int, policy: str) -> None:
    begin, now = after(last / 10), after((last + more) / 10)
    series = every(step / 10)
    found = due(series, begin, now, policy)
    assert list(found.run) == sorted(set(found.run))
    assert all(begin < moment <= now for moment in found.run)
    assert found.next_at is not None
    assert found.next_at > now
    again = due(series, found.through, now, policy)
    assert again.run == (), "a second Beat, or the next turn, finds nothing"
    if policy != ONCE and found.run:
        moment = series(max(begin, now - ON_TIME))
        assert moment is None or moment > now or moment in found.run


# when the clocks change

BERLIN, HELSINKI = ZoneInfo("Europe/Berlin"), ZoneInfo("Europe/Helsinki")


def local(spec: str, zone: ZoneInfo, begin: str, hours: int) -> list[str]:
    """The ticks of a crontab in a night, in UTC."""
    minute, hour = spec.split()
    timing, moment = Cron(crontab(minute, hour, app=APP), zone), datetime.fromisoformat(begin + "+00:00")
    end, found = moment + timedelta(hours=hours), []
    while (tick := timing.next_after(moment, NOON)) is not None and tick <= end:
        found.append(f"{tick:%H:%M}")
        moment = tick
    return found


@pytest.mark.parametrize(
    ("spec", "autumn", "spring"),
    [
        # in UTC: Berlin repeats 00:00-01:00 as 01:00-02:00 in autumn, and skips 02:00-03:00 at 01:00 in spring
        ("30 2", ["00:30"], ["01:30"]),
        ("*/30 2", ["00:00", "00:30"], ["01:00", "01:30"]),
        ("30 *", ["23:30", "00:30", "01:30", "02:30"], ["23:30", "00:30", "01:30", "02:30"]),
        ("30 */2", ["00:30", "01:30"], ["23:30", "02:30"]),
        ("30 2,3", ["00:30", "02:30"], ["01:30"]),
    ],
)
def test_half_past_two_in_berlin(spec: str, autumn: list[str], spring: list[str]) -> None:
    assert local(spec, BERLIN, "2026-10-24T23:00", 4) == autumn
    assert local(spec, BERLIN, "2027-03-27T23:00", 4) == spring


@pytest.mark.parametrize(
    ("spec", "autumn", "spring"),
    [
        # in UTC: Helsinki repeats 03:00-04:00 (00:00-01:00) as 01:00-02:00, and skips 03:00-04:00 at 01:00
        ("30 3", ["00:30"], ["01:30"]),
        ("30 *", ["23:30", "00:30", "01:30", "02:30"], ["23:30", "00:30", "01:30", "02:30"]),
        ("30 */3", ["00:30", "01:30"], []),
    ],
)
def test_half_past_three_in_helsinki(spec: str, autumn: list[str], spring: list[str]) -> None:
    assert local(spec, HELSINKI, "2026-10-24T23:00", 4) == autumn
    assert local(spec, HELSINKI, "2027-03-27T23:00", 4) == spring


# what a schedule is


def test_the_timing_of_a_schedule() -> None:
    clock = lambda: NOON  # noqa: E731
    assert timing_of(schedule(timedelta(seconds=90), app=APP)) == Every(timedelta(seconds=90))
    assert timing_of(schedule(timedelta(seconds=90), app=APP)).spec == "every 90 s"
    weekly = crontab("0", "8-18/2", {1, 5}, app=APP)
    assert timing_of(weekly, BERLIN) == Cron(weekly, BERLIN)
    assert timing_of(weekly).spec == "0 8-18/2 * * 1,5"
    for own in (
        schedule(timedelta(minutes=1), relative=True, app=APP),
        schedule(timedelta(minutes=1), nowfun=clock, app=APP),
        crontab(nowfun=clock, app=APP),
        type("Mine", (crontab,), {})(app=APP),
    ):
        assert isinstance(timing_of(own), Custom)
    assert fingerprint(weekly, BERLIN) != fingerprint(weekly, HELSINKI)
    assert fingerprint(weekly) == fingerprint(crontab(0, "8,10,12,14,16,18", "mon,fri", app=APP))


# what follows from a tick


@given(st.text(max_size=40), st.integers(-(10**10), 10**10))
def test_the_id_of_a_ticks_job_is_a_uuid7_of_its_time(entry: str, milliseconds: int) -> None:
    tick = NOON + timedelta(milliseconds=milliseconds)
    made = uuid.UUID(ticks.job_id(entry, tick))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == (tick - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert str(made) == ticks.job_id(entry, tick)
    assert str(made) != ticks.job_id(entry + "x", tick)
    assert str(made) != ticks.job_id(entry, tick + timedelta(microseconds=1))


def test_jitter_depends_on_entry_and_tick_and_fills_its_range() -> None:
    found = [ticks.jitter("nightly", NOON + timedelta(days=day), 60).total_seconds() for day in range(200)]
    assert found[7] == ticks.jitter("nightly", NOON + timedelta(days=7), 60).total_seconds()
    assert all(0 <= each < 60 for each in found)
    assert min(found) < 5
    assert max(found) > 55
    assert ticks.jitter("other", NOON, 60) != ticks.jitter("nightly", NOON, 60)
    assert ticks.jitter("nightly", NOON, 0) == timedelta()
