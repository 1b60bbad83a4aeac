"""The retry decision, as properties: its limits, the cap, the jitter."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flask_nightshift.domain.job import Reason
from flask_nightshift.domain.retry import Dead, Decision, RetryAt, RetryPolicy, decide

NOW = datetime(2026, 5, 1, tzinfo=UTC)

policies = st.builds(
    RetryPolicy,
    max_retries=st.none() | st.integers(0, 200),
    backoff=st.floats(0.001, 3600),
    backoff_max=st.floats(0.001, 86_400),
    jitter=st.booleans(),
    delay=st.floats(0, 3600),
)
retries = st.integers(0, 10_000)
draws = st.floats(0, 1, exclude_max=True)


def judge(policy: RetryPolicy, retries: int, draw: float = 0.5, wait: float | None = None) -> Decision:
    return decide(policy, retriable=True, retries=retries, now=NOW, rng=lambda: draw, wait=wait)


@given(policies, retries)
def test_an_error_that_no_attempt_can_mend_is_permanent(policy: RetryPolicy, retries: int) -> None:
    decision = decide(policy, retriable=False, retries=retries, now=NOW, rng=random.random, wait=1)
    assert decision == Dead(Reason.PERMANENT)


@given(policies, retries, draws)
def test_a_job_is_retried_exactly_max_retries_times(policy: RetryPolicy, retries: int, draw: float) -> None:
    decision = judge(policy, retries, draw)
    if policy.max_retries is None or retries < policy.max_retries:
        assert isinstance(decision, RetryAt)
    else:
        assert decision == Dead(Reason.EXHAUSTED)


@given(st.integers(0, 20))
def test_followed_from_the_first_attempt_a_job_has_one_attempt_more_than_retries(max_retries: int) -> None:
    policy, attempts = RetryPolicy(max_retries=max_retries), 1
    while isinstance(judge(policy, attempts - 1), RetryAt):
        attempts += 1
    assert attempts == max_retries + 1


@given(policies, retries, draws)
def test_a_wait_is_never_negative_and_never_above_the_cap(
    policy: RetryPolicy, retries: int, draw: float
) -> None:
    wait = policy.wait(retries, lambda: draw)
    assert 0 <= wait <= policy.ceiling(retries) <= policy.backoff_max


@given(policies, retries)
def test_the_ceiling_never_falls_and_doubles_until_the_cap(policy: RetryPolicy, retries: int) -> None:
    this, following = policy.ceiling(retries), policy.ceiling(retries + 1)
    assert following >= this
    assert following == pytest.approx(min(policy.backoff_max, 2 * this)) or retries >= 64


@given(policies)
def test_the_first_wait_is_the_backoff(policy: RetryPolicy) -> None:
    assert policy.ceiling(0) == min(policy.backoff, policy.backoff_max)


@given(policies, retries, draws)
def test_with_jitter_the_wait_is_drawn_evenly_from_zero_to_the_ceiling(
    policy: RetryPolicy, retries: int, draw: float
) -> None:
    assume(policy.jitter)
    assert policy.wait(retries, lambda: draw) == pytest.approx(draw * policy.ceiling(retries))
    assert policy.wait(retries, lambda: 0.0) == 0


@given(policies, retries, draws)
def test_without_jitter_nothing_is_drawn(policy: RetryPolicy, retries: int, draw: float) -> None:
    assume(not policy.jitter)
    assert policy.wait(retries, lambda: draw) == policy.ceiling(retries)


@given(retries, draws, st.floats(0, 3600), st.booleans())
def test_without_backoff_the_wait_is_fixed(retries: int, draw: float, delay: float, jitter: bool) -> None:
    policy = RetryPolicy(backoff=0, delay=delay, jitter=jitter)
    assert policy.wait(retries, lambda: draw) == delay


@given(policies, st.floats(-10, 1e6), draws)
def test_a_wait_that_the_task_asked_for_goes_first(policy: RetryPolicy, wait: float, draw: float) -> None:
    decision = judge(policy, 0, draw, wait)
    if isinstance(decision, RetryAt):
        assert decision.wait == max(0.0, wait)


@given(policies, retries, draws)
def test_a_retry_s_time_and_wait_agree(policy: RetryPolicy, retries: int, draw: float) -> None:
    decision = judge(policy, retries, draw)
    if isinstance(decision, RetryAt):
        assert decision.at == NOW + timedelta(seconds=decision.wait)
        assert decision.at >= NOW


def test_the_jitter_spreads_what_failed_together() -> None:
    rng = random.Random(7).random
    waits = [RetryPolicy().wait(5, rng) for _ in range(1000)]  # of at most 64 s
    for quarter in range(4):
        share = sum(16 * quarter <= wait < 16 * (quarter + 1) for wait in waits)
        assert 190 < share < 310
