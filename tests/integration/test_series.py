"""Totals over time: every attempt is in a point, however coarse its row has become."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask

from flask_nightshift import Nightshift, journal
from flask_nightshift.domain.job import Outcome, utcnow
from flask_nightshift.journal.tally import ALL_TIME, TICK, Tally
from flask_nightshift.observe import series as charts
from flask_nightshift.services import Services, current
from flask_nightshift.store import tables

NOW = utcnow()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Iterator[Services]:
    app, jobs = Flask("shop", instance_path=str(tmp_path)), Nightshift()
    app.config.update(NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DATABASE_URL=database_url, TESTING=True)
    jobs.init_app(app)
    current(app).store.migrate()
    yield current(app)
    jobs.close(app)


def count(services: Services, *ended: tuple[datetime, str, Outcome, float | None], worker: str = "w") -> None:
    tally = Tally()
    for at, task, outcome, runtime in ended:
        tally.add(at, task, "q", outcome, runtime, 0.25)
    with services.store.begin() as connection:
        journal.add_totals(connection, tally.rows(worker))


def counts(found: charts.Series, name: str = "") -> dict[datetime, int]:
    return {point.at: point.count for point in found.lines[name] if point.count}


def floor(moment: datetime, span: timedelta) -> datetime:
    return moment - (moment - ALL_TIME) % span


def test_lines_have_a_point_for_each_step(services: Services) -> None:
    times = [NOW - MINUTE * n for n in (1, 1, 3)]
    count(services, *((at, "mail", Outcome.SUCCEEDED, 0.5) for at in times))
    count(services, (times[0], "mail", Outcome.SUCCEEDED, 1.5), worker="other")
    count(services, (times[0], "mail", Outcome.DEAD, None), (times[0], "scale", Outcome.SUCCEEDED, 8.0))

    whole = charts.series(services, NOW - 10 * MINUTE)
    assert whole.step == MINUTE
    assert [point.at for point in whole.lines[""]] == [
        whole.since + MINUTE * n for n in range(len(whole.lines[""]))
    ]
    assert counts(whole) == {floor(times[0], MINUTE): 5, floor(times[2], MINUTE): 1}

    mail = charts.series(services, NOW - 10 * MINUTE, task="mail", queue="q", by="outcome")
    assert set(mail.lines) == {"succeeded", "dead"}
    (point,) = [each for each in mail.lines["succeeded"] if each.at == floor(times[0], MINUTE)]
    assert (point.count, point.mean_wait) == (3, 0.25)
    assert point.mean_runtime == pytest.approx(2.5 / 3)
    (point,) = [each for each in mail.lines["dead"] if each.count]
    assert (point.count, point.mean_runtime) == (1, None)
    assert mail.as_dict()["lines"]["dead"]["count"].count(1) == 1
    assert mail.as_dict()["step_seconds"] == 60

    assert counts(charts.series(services, NOW - 10 * MINUTE, NOW - 2 * MINUTE)) == {
        floor(times[2], MINUTE): 1
    }
    assert charts.series(services, NOW - 10 * MINUTE, outcome="dead", by="task").lines.keys() == {"mail"}
    by_five = charts.series(services, NOW - 20 * MINUTE, step=5 * MINUTE)
    assert (by_five.step, sum(counts(by_five).values())) == (5 * MINUTE, 6)
    assert charts.series(services, NOW - HOUR, queue="none").lines[""][0].count == 0
    with pytest.raises(ValueError, match="lost"):
        charts.series(services, NOW - HOUR, outcome="lost")


def test_the_steps_are_as_long_as_the_rows_and_nothing_is_lost(services: Services) -> None:
    ages = [timedelta(minutes=5), timedelta(hours=30), timedelta(days=3), timedelta(days=59), timedelta(days=61),
            timedelta(days=61, minutes=7), timedelta(days=300)]  # fmt: skip
    count(services, *((NOW - age, "mail", Outcome.SUCCEEDED, 0.5) for age in ages))
    before = [charts.series(services, NOW - timedelta(days=days)) for days in (1.9, 30, 400)]
    assert [each.step for each in before] == [MINUTE, HOUR, DAY]
    journal.fold(services.store, NOW)
    after = [charts.series(services, NOW - timedelta(days=days)) for days in (1.9, 30, 400)]
    assert [counts(each) for each in after] == [counts(each) for each in before]
    assert sum(counts(after[2]).values()) == len(ages)
    assert charts.series(services, NOW - timedelta(days=30), step=90 * MINUTE).step == 2 * HOUR


def test_many_tasks_become_few_lines(services: Services) -> None:
    for number in range(charts.MOST_LINES + 5):
        count(services, *[(NOW, f"task{number:02}", Outcome.SUCCEEDED, 0.1)] * (number + 1))
    found = charts.series(services, NOW - HOUR, by="task")
    assert list(found.lines) == [*(f"task{number:02}" for number in range(5, 25)), charts.OTHERS]
    assert sum(counts(found, charts.OTHERS).values()) == 1 + 2 + 3 + 4 + 5

    count(services, *[(NOW, charts.OTHERS, Outcome.SUCCEEDED, 0.1)] * 100)
    found = charts.series(services, NOW - HOUR, by="task")
    assert sum(counts(found, charts.OTHERS).values()) == 1 + 2 + 3 + 4 + 5 + 100


def test_sums_of_seconds_stay_exactly_the_same(services: Services) -> None:
    """Of floats, in general, other orders of addition have other sums."""
    runtimes = [0.1 * n + 1e-7 * n * n for n in range(1, 60)]
    for worker in range(3):
        ended = [(NOW - timedelta(days=3, minutes=n), "mail", Outcome.SUCCEEDED, runtime) for n, runtime in
                 enumerate(runtimes)]  # fmt: skip
        count(services, *ended, worker=f"w{worker}")

    def seconds() -> float:
        with services.store.read() as connection:
            query = tables.totals.select().where(tables.totals.c.minute > ALL_TIME)
            return sum(row.runtime_sum for row in connection.execute(query))

    before, ever = seconds(), journal.totals(services.store)[0].runtime_sum
    assert before == ever == pytest.approx(3 * sum(runtimes), abs=len(runtimes) * 3 * TICK)
    assert journal.fold(services.store, NOW) > 100
    assert (seconds(), journal.totals(services.store)[0].runtime_sum) == (before, ever)
