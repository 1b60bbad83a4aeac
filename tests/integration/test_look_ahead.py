"""A worker takes short jobs ahead, and none of them waits in a busy worker while another worker is idle."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from system import System

SLOW = 60.0
"""Seconds; no short job may wait for it."""


def ledger(system: System) -> dict[int, dict[str, float]]:
    """When each job that has ended began and ended, by its number."""
    lines = system.ledger.read_text().splitlines() if system.ledger.exists() else []
    pairs = (line.split(" ", 1) for line in lines)
    return {int(number): json.loads(noted) for number, noted in pairs}


def enqueue(system: System, count: int, slow: dict[int, float]) -> None:
    """Enqueue jobs, some of them slow: their seconds by their numbers."""
    system.python(f"import aheadapp; aheadapp.create_app(); aheadapp.enqueue({count}, {slow!r})")


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
    system.until(lambda: len(ledger(system)) >= 1200 - len(slow), 40, "short jobs wait for long ones")
    assert not ledger(system).keys() & slow.keys()
