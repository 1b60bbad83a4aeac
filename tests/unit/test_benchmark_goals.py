"""The pure parts of ``make bench``: what it takes for quiet, its goals, and its tables."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from benchmarks import report
from benchmarks.goals import Goal, goals
from benchmarks.quiet import Look, Ticks, Watch
from benchmarks.results import Results, Round, differ

DEFAULT, STOCK = "nightshift-default", "celery-prefork"


def test_the_machine_s_line_is_read() -> None:
    ticks = Ticks.of("cpu  100 0 50 800 10 5 5 30 0 0")
    assert ticks == Ticks(total=1000, idle=810, stolen=30)
    assert ticks.steal == pytest.approx(0.03)
    assert ticks.busy == pytest.approx(0.16)
    assert Ticks().steal == Ticks().busy == 0


@pytest.mark.parametrize(
    ("look", "quiet"),
    [(Look(0, 0, 1), True), (Look(0.1, 0, 1), False), (Look(0, 1, 1), False), (Look(0, 0, 2), False)],
)
def test_each_of_three_signs_makes_a_machine_noisy(look: Look, quiet: bool) -> None:
    assert look.quiet is quiet


def test_a_noisy_machine_is_waited_for_but_not_longer_than_told() -> None:
    watch = _watch(longest=20, busy=True)
    assert not watch.wait().quiet
    assert watch.clock() == pytest.approx(20, abs=1)
    while watch.waited < 240:
        watch.wait()
    before = watch.clock()
    watch.wait()
    assert watch.clock() - before < 1  # all the waits of a run are used up


def test_a_quiet_machine_is_not_waited_for() -> None:
    watch = _watch(longest=20, busy=False)
    look = watch.wait()
    assert (look.steal, look.others) == (0, 0)
    assert watch.clock() < 1


def test_rounds_that_differ_by_more_than_a_fifth_are_both_told() -> None:
    assert differ([100, 115, 119]) is None
    assert differ([100, 119, 125]) == (100, 125)
    assert differ([100]) is None


def test_the_table_shows_the_spread_and_marks_noise() -> None:
    results = _results(_round(1, STOCK, drain=1000.0), _round(2, STOCK, drain=1500.0, noisy=True))
    assert "| celery-prefork (1 of 2 noisy) | 1,250 (1,000–1,500) |" in report.tables(results)


def test_the_goals_are_those_of_the_issue() -> None:
    results = _results(
        _round(
            1,
            DEFAULT,
            drain=10_000.0,
            enqueue=9_000.0,
            latency=[0.001] * 99 + [0.004],
            memory=110.0,
            idle=0.003,
        ),
        _round(1, STOCK, drain=1500.0, enqueue=3_000.0, memory=100.0),
        _round(1, "huey", drain=6_000.0, enqueue=11_000.0),
    )
    results.about["imports"] = {"libraries": 0.3, "package": 0.1, "app": 0.45, "app_by_hand": 0.4}
    found = {goal.what: goal for goal in goals(results)}
    assert _of(found, "drain of nightshift-default, against celery-prefork").reached
    assert _of(found, "drain of nightshift-default, against the fastest peer (huey)").reached
    assert _of(found, "drain of the best pool (nightshift-default)").value == pytest.approx(1.67, abs=0.01)
    assert _of(found, "`delay()`, against huey").wanted == 0.75
    assert _of(found, "start p50").reached
    assert _of(found, "start p99").reached
    assert _of(found, "memory of a worker").reached
    assert _of(found, "idle worker").reached
    assert _of(found, "import time of `flask_nightshift`").reached
    assert not _of(found, "import and an app with it, against `import").reached


def test_a_goal_in_milliseconds_is_written_so() -> None:
    results = _results(_round(1, DEFAULT, latency=[0.0014]), _round(2, DEFAULT, latency=[0.002]))
    assert "| 2.0 ms (1.4–2.0) | ≤ 1.5 ms | **no** |" in report.tables(results)


def _of(found: dict[str, Goal], begin: str) -> Goal:
    return next(goal for what, goal in found.items() if what.startswith(begin))


def _results(*rounds: Round) -> Results:
    return Results({"servers": {}}, list(rounds))


def _round(number: int, peer: str, *, noisy: bool = False, **values: Any) -> Round:
    return Round("redis", peer, number, values, {}, {}, noisy)


def _watch(longest: float, *, busy: bool) -> Watch:
    """A watch whose clock only runs while it sleeps."""
    slept, turns = [0.0], count(1)

    def ticks() -> Ticks:
        turn = next(turns)
        return Ticks(100 * turn, 0 if busy else 100 * turn)

    def sleep(seconds: float) -> None:
        slept[0] += seconds

    return Watch(2, longest, calculate=lambda: 0.01, ticks=ticks, sleep=sleep, clock=lambda: slept[0])
