"""Whether and when a failed attempt is followed by another: one pure decision.

The clock and the randomness are passed in; nothing here knows Celery, a broker or a database. Everything
that can end an attempt badly (an exception, a time limit, a killed child) is judged by ``decide``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .job import Reason


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how slowly a task is retried; the fields carry Celery's option names.

    ``max_retries`` is the number of attempts after the first (``None``: without bound), ``backoff`` the first
    wait in seconds, doubled with each retry up to ``backoff_max`` seconds; with ``jitter`` the wait is drawn
    evenly from zero to that (full jitter), so that jobs that failed together do not come back together.
    ``delay`` is the fixed wait in seconds when ``backoff`` is 0.
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
        # 2 ** 64 seconds is past any backoff_max and still a float
        return min(self.backoff_max, self.backoff * 2.0 ** min(retries, 64))

    def wait(self, retries: int, rng: Callable[[], float]) -> float:
        """The wait in seconds before retry number ``retries + 1``; ``rng()`` gives a float in [0, 1)."""
        ceiling = self.ceiling(retries)
        if not self.backoff or not self.jitter:
            return ceiling
        return ceiling * rng()


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Run it again, not before ``at``; ``wait`` is the same in seconds from now."""

    at: datetime
    wait: float


@dataclass(frozen=True, slots=True)
class Dead:
    """Bury it."""

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
    """What follows an attempt that failed.

    ``retriable`` says that the error is one that another attempt may mend, ``retries`` how many retries went
    before this attempt (0 for the first), ``wait`` a wait in seconds that the task itself asked for
    (``retry(countdown=…)``, a ``Retry-After``), which goes before the policy's.
    """
    if not retriable:
        return Dead(Reason.PERMANENT)
    if policy.max_retries is not None and retries >= policy.max_retries:
        return Dead(Reason.EXHAUSTED)
    seconds = max(0.0, policy.wait(retries, rng) if wait is None else wait)
    return RetryAt(now + timedelta(seconds=seconds), seconds)
