"""A worker takes short jobs ahead, and none of them waits in a busy worker while another worker is idle."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from system import System

SLOW = 8.0
SHORT = 0.2
"""Seconds that a job waits at the most while a child is free, beyond the work before it."""


def ledger(system: System) -> dict[int, dict[str, float]]:
    """When each job that has ended began and ended, by its number."""
    lines = system.ledger.read_text().splitlines() if system.ledger.exists() else []
    pairs = (line.split(" ", 1) for line in lines)
    return {int(number): json.loads(noted) for number, noted in pairs}


def enqueue(system: System, count: int, slow: dict[int, float]) -> float:
    """Enqueue jobs; when that was done."""
    code = f"import aheadapp; aheadapp.create_app(); print(aheadapp.enqueue({count}, {slow!r}))"
    said = system.python(code)
    return float(said.split()[-1])


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"], indirect=True)
def test_no_short_job_waits_in_a_busy_worker_while_a_child_is_free(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(FLASK_APP="aheadapp")
    for name in ("first", "second"):
        system.worker("--concurrency", "2", name=name)
    enqueue(system, 200, {})  # both have measured it
    system.until(lambda: len(ledger(system)) == 200, 30, "they do not end")
    slow = {1050: SLOW, 1100: SLOW, 1150: SLOW}
    system.ledger.unlink()
    enqueue(system, 1200, slow)
    system.until(lambda: len(ledger(system)) == 1200, 40, "they do not end")
    jobs = ledger(system)
    held = [jobs[number] for number in slow]
    all_busy = min(each["ended"] for each in held)
    begun = sorted(each["began"] for number, each in jobs.items() if number not in slow)
    gaps = [(b - a, a) for a, b in pairwise(begun) if b < all_busy]
    assert begun[-1] < all_busy, "short jobs waited for a long one"
    assert max(gaps)[0] < SHORT + 0.1, max(gaps)
