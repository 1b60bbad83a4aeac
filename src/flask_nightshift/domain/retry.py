"""Decides whether and when a failed attempt is retried, as a pure function.

Callers pass in the clock and the randomness. This module knows no Celery, no broker and no database. ``decide`` covers
every failure of an attempt: an exception, a time limit, a killed child.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .job import Reason


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task is retried, and after which waits; the fields correspond to Celery's task options.

    ``max_retries`` is the number of attempts after the first (``None``: no limit). ``backoff`` is the first wait in
    seconds; it doubles with each retry, up to ``backoff_max`` seconds. With ``jitter`` the wait is uniformly random
    between 0 and that value (full jitter), so jobs that failed together do not retry together. ``delay`` is the fixed
    wait in seconds if ``backoff`` is 0.
    """

    max_retries: int | None = 5
    backoff: float = 2
    backoff_max: float = 600
    jitter: bool = True
    delay: float = 180

    def limited_to(self, max_retries: int | None) -> RetryPolicy:
        """The same policy with another number of retries."""
        return replace(self, max_retries=max_retries)

    def ceiling(self, retries: int) -> float:
        """The longest wait in seconds before retry number ``retries + 1``."""
        if not self.backoff:
            return self.delay
        # 2 ** 64 seconds exceeds any backoff_max, and a float can hold it
        return min(self.backoff_max, self.backoff * 2.0 ** min(retries, 64))

    def wait(self, retries: int, rng: Callable[[], float]) -> float:
        """The wait in seconds before retry number ``retries + 1``; ``rng()`` returns a float in [0, 1)."""
        ceiling = self.ceiling(retries)
        if not self.backoff or not self.jitter:
            return ceiling
        return ceiling * rng()


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Retry the job at ``at``, which is ``wait`` seconds from now."""

    at: datetime
    wait: float


@dataclass(frozen=True, slots=True)
class Dead:
    """Make the job a dead letter."""

    reason: Reason


Decision = RetryAt | Dead


def decide(
    policy: RetryPolicy,
    *,
    retriable: bool,
    retries: int,
    now: datetime,
    rng: Callable[[], float],
    wait: float | None = None,
) -> Decision:
    """Decide the next state of a job whose attempt failed.

    ``retriable``: another attempt may help. ``retries``: the number of retries before this attempt (0 for the first).
    ``wait``: seconds that the task itself asked for (``retry(countdown=…)``, a ``Retry-After``), instead of the
    policy's wait.
    """
    if not retriable:
        return Dead(Reason.PERMANENT)
    if policy.max_retries is not None and retries >= policy.max_retries:
        return Dead(Reason.EXHAUSTED)
    seconds = max(0.0, policy.wait(retries, rng) if wait is None else wait)
    return RetryAt(now + timedelta(seconds=seconds), seconds)
