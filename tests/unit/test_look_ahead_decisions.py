"""How many jobs a worker may hold."""

from __future__ import annotations

import json

from flask_nightshift.domain.look_ahead import AHEAD, MOST_BYTES, MOST_JOBS, ByTime, LookAhead


def looked(runs: list[float], *, arrivals: int = 50, size: int = 700, limited: bool = False) -> LookAhead:
    look = LookAhead()
    for seconds in runs:
        look.ended("task", seconds)
    for _ in range(arrivals):
        look.arrived("task", size, limited=limited)
    return look


def test_nothing_is_taken_ahead_of_a_task_that_was_not_measured() -> None:
    assert LookAhead().window(2, 0) == 2
    assert looked([0.001] * 4).window(2, 0) == 2


def test_a_worker_holds_a_tenth_of_a_second_of_short_jobs_for_each_child() -> None:
    assert looked([0.001] * 5).window(2, 0) == 200
    assert looked([0.002] * 50).window(2, 0) == 100


def test_a_slow_task_counts_as_a_whole_child() -> None:
    assert looked([3.0] * 50).window(4, 0) == 4
    assert looked([AHEAD] * 50).window(4, 0) == 4


def test_the_greater_of_mean_and_90th_percentile_counts() -> None:
    assert looked([0.001] * 49 + [10.0]).window(2, 0) == 2  # mean
    assert looked([0.001] * 40 + [0.05] * 10).window(1, 0) == 2  # 90th percentile


def test_only_the_last_runs_count() -> None:
    assert looked([10.0] * 50 + [0.001] * 50).window(1, 0) == 100


def test_a_slow_run_counts_at_once() -> None:
    look = looked([0.001] * 50)
    look.ended("task", 10.0)
    for _ in range(50):
        look.arrived("task", 700)
    assert look.window(2, 0) == 2


def test_nothing_is_taken_ahead_for_children_that_are_busy_for_long() -> None:
    assert looked([0.001] * 50).window(2, 1) == 101
    assert looked([0.001] * 50).window(2, 2) == 2


def test_a_mixture_counts_by_its_shares() -> None:
    look = looked([0.001] * 50, arrivals=25)
    for _ in range(25):
        look.arrived("unknown", 700)
    assert look.window(2, 0) == 3


def test_large_messages_bound_what_is_held() -> None:
    assert looked([0.0001] * 50, size=MOST_BYTES // 20).window(2, 0) == 20
    assert looked([0.0001] * 50, size=2 * MOST_BYTES).window(2, 0) == 2


def test_jobs_under_a_rate_limit_are_not_taken_ahead() -> None:
    assert looked([0.001] * 50, limited=True).window(2, 0) == 2


def test_celery_takes_the_multiplier_for_a_number() -> None:
    assert int(ByTime(1)) == 1
    assert json.dumps({"n": ByTime(1)}) == '{"n": 1}'


def test_a_worker_holds_no_more_jobs_than_it_can_hand_out_in_time() -> None:
    ahead = LookAhead()
    for _ in range(100):
        ahead.ended("empty", 0.00001)
    for _ in range(100):
        ahead.arrived("empty", 100)
    assert ahead.window(8, 0) == MOST_JOBS
