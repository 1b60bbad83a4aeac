"""Unless a clock changes, a crontab runs when Celery would run it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from celery import Celery
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.schedule import crontabs

CELERY = Celery(set_as_current=False)


def field(low: int, high: int) -> st.SearchStrategy[object]:
    return st.just("*") | st.sets(st.integers(low, high), min_size=1, max_size=4)


SPECS = st.builds(
    crontab, minute=field(0, 59), hour=field(0, 23), day_of_week=field(0, 6), day_of_month=field(1, 28),
    month_of_year=field(1, 12), app=st.just(CELERY),
)  # fmt: skip


@given(SPECS, st.integers(0, 4 * 366 * 86_400))
def test_a_crontab_runs_next_when_celery_says(spec: crontab, seconds: int) -> None:
    after = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    spec.nowfun = lambda: after
    assert crontabs.next_run(spec, after, UTC) == after + spec.remaining_estimate(after)
