"""The app of ``jobsapp.py``, with a task that is nearly always fast, and a command that enqueues many of it."""

from __future__ import annotations

import json
import time

from jobsapp import create_app, jobs, note

__all__ = ["create_app"]


@jobs.task(name="test.nearly_always_fast")
def nearly_always_fast(number: int, seconds: float = 0.002) -> None:
    """Note when it began and ended, on the clock that all processes share."""
    began = time.monotonic()
    time.sleep(seconds)
    note(str(number), json.dumps({"began": began, "ended": time.monotonic()}))


def enqueue_rounds(rounds: int, count: int, slow: int, seconds: float) -> None:
    """Enqueue ``slow`` jobs of so many ``seconds`` with ``count`` fast ones behind them, again and again.

    Prints when each round was enqueued; a job's number begins with that of its round.
    """
    for number in range(rounds):
        first = 1000 * (number + 1)
        calls = [(first + each, seconds if each < slow else 0.002) for each in range(slow + count)]
        nearly_always_fast.enqueue_many(calls)
        print(time.monotonic(), flush=True)
        time.sleep(seconds + 0.3)


def enqueue(count: int, slow: dict[int, float]) -> None:
    """Enqueue so many, those in ``slow`` with other seconds."""
    calls = [(number, slow.get(number, 0.002)) for number in range(count)]
    nearly_always_fast.enqueue_many(calls)
