"""The time limits of running jobs: each is reported once and in time, and they share a timer."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.worker.pools import time_limits
from flask_nightshift.worker.pools.time_limits import TimeLimits


class Clock:
    """A clock that the test advances, with the timers of an event loop."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, int, Callable[[], Any]]] = []
        self.reached: list[tuple[float, int, bool]] = []
        self._numbers = itertools.count()
        self.limits = TimeLimits(lambda job, soft: self.reached.append((self.now - 100, job, soft)))
        self.limits.use(self.call_later)

    def call_later(self, seconds: float, function: Callable[[], Any]) -> None:
        assert seconds >= 0
        heapq.heappush(self.timers, (self.now + seconds, next(self._numbers), function))

    def pass_until(self, moment: float) -> None:
        while self.timers and self.timers[0][0] <= moment + 100:
            self.now, _, function = heapq.heappop(self.timers)
            function()
        self.now = moment + 100


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time_limits, "monotonic", lambda: clock.now)
    return clock


def test_the_soft_limit_comes_first_and_then_the_hard_one(clock: Clock) -> None:
    clock.limits.begin(1, 3, 5)
    clock.pass_until(10)
    assert clock.reached == [(3, 1, True), (5, 1, False)]


@pytest.mark.parametrize(("soft", "hard", "told"), [(3, None, (3, 1, True)), (None, 5, (5, 1, False))])
def test_one_time_limit_alone(
    clock: Clock, soft: float | None, hard: float | None, told: tuple[Any, ...]
) -> None:
    clock.limits.begin(1, soft, hard)
    clock.pass_until(10)
    assert clock.reached == [told]


def test_without_limits_nothing_is_watched(clock: Clock) -> None:
    clock.limits.begin(1, None, None)
    assert not clock.timers


def test_a_job_that_has_ended_has_no_limit(clock: Clock) -> None:
    clock.limits.begin(1, 3, 5)
    clock.pass_until(4)
    clock.limits.end(1)
    clock.pass_until(10)
    assert clock.reached == [(3, 1, True)]


def test_a_shorter_limit_is_not_kept_waiting_by_a_longer_one(clock: Clock) -> None:
    clock.limits.begin(1, 300, None)
    clock.limits.begin(2, 1, None)
    clock.pass_until(2)
    assert clock.reached == [(1, 2, True)]


def test_limits_survive_an_event_loop_that_forgets_its_timers(clock: Clock) -> None:
    clock.limits.begin(1, 3, None)
    clock.limits.begin(2, 8, None)
    clock.timers.clear()
    clock.now += 5
    clock.limits.use(clock.call_later)
    assert clock.reached == [(5, 1, True)], "it was reached meanwhile"
    clock.pass_until(10)
    assert clock.reached[1:] == [(8, 2, True)]


def test_a_limit_that_cannot_be_acted_on_does_not_hide_the_next(clock: Clock) -> None:
    def fail(job: int, soft: bool) -> None:
        raise ProcessLookupError(job, soft)

    limits = TimeLimits(fail)
    limits.use(clock.call_later)
    limits.begin(1, 1, None)
    limits.begin(2, 2, None)
    for job in (1, 2):
        with pytest.raises(ProcessLookupError) as caught:
            clock.pass_until(10)
        assert caught.value.args == (job, True)


def test_a_thousand_short_jobs_leave_one_timer(clock: Clock) -> None:
    for job in range(1000):
        clock.limits.begin(job, 300, 330)
        clock.pass_until(job / 100)
        clock.limits.end(job)
    assert len(clock.timers) == 1


jobs = st.lists(
    st.tuples(
        st.integers(0, 50), st.none() | st.integers(1, 30), st.none() | st.integers(1, 30), st.integers(1, 60)
    ),
    max_size=12,
)


@given(jobs)
def test_each_time_limit_is_reported_once(
    jobs: list[tuple[int, int | None, int | None, int]],
) -> None:
    clock = Clock()
    expected, steps = [], []
    for number, (begin, soft, hard, length) in enumerate(jobs):
        hard = hard + soft if soft and hard else hard
        steps.append((begin, 1, number, soft, hard))
        steps.append((begin + length, 0, number, None, None))
        expected += [(begin + at, number, at is soft) for at in (soft, hard) if at and at <= length]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_limits, "monotonic", lambda: clock.now)
        for at, is_begin, number, soft, hard in sorted(steps, key=lambda step: (step[0], step[1])):
            clock.pass_until(at)
            if is_begin:
                clock.limits.begin(number, soft, hard)
            else:
                clock.limits.end(number)
        clock.pass_until(1000)
    assert sorted(clock.reached) == sorted(expected)
