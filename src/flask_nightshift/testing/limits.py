"""Time limits in a test: a body that calls ``travel()`` lets its own time pass, and reaches its limits.

At the soft limit ``travel()`` raises ``SoftTimeLimitExceeded``, as the signal does in the pool ``prefork``; a coroutine
is cancelled. At the hard limit that pool kills the process. Here ``travel()`` raises ``Killed`` through the body, which
is no ``Exception``, so only ``finally`` and ``except BaseException`` see it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded

from ..task.attempt_outcome import in_worker
from ..task.coroutine_run import current_run
from ..task.coroutines import time_limits


class Killed(BaseException):
    """The attempt has reached its hard time limit of ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the hard time limit of {seconds:g} s was reached")
        self.seconds = seconds


class Passed:
    """The time that has passed for the attempt that runs, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.soft_heard = False


passed: ContextVar[Passed | None] = ContextVar("nightshift_passed", default=None)
"""Set while a test runs a job."""


def let_pass(seconds: float, travel: Callable[[float], None]) -> None:
    """Call ``travel`` with the seconds that pass: all, or those until the running attempt reaches a limit.

    Then raises what the limit raises, or cancels the coroutine.
    """
    mine, task = passed.get(), current_app.current_worker_task
    if mine is None or task is None or not in_worker():
        travel(seconds)
        return
    soft, hard = time_limits(task)
    for limit, reached in ((None if mine.soft_heard else soft, _soft), (hard, _hard)):
        if limit is not None and mine.seconds + seconds >= limit and not _comes_first(hard, limit):
            travel(max(0.0, limit - mine.seconds))
            mine.seconds = max(mine.seconds, limit)
            mine.soft_heard = True
            reached(limit)
            return
    travel(seconds)
    mine.seconds += seconds


def _comes_first(hard: float | None, limit: float) -> bool:
    return hard is not None and hard < limit


def _soft(_: float) -> None:
    run = current_run.get()
    if run is None:
        raise SoftTimeLimitExceeded
    run.interrupt(SoftTimeLimitExceeded())


def _hard(seconds: float) -> None:
    run = current_run.get()
    if run is None:
        raise Killed(seconds)
    run.abandon(seconds)


__all__ = ["Killed", "Passed", "let_pass", "passed"]
