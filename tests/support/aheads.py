"""Jobs of ``apps/aheadapp.py``, and what they noted."""

from __future__ import annotations

import json

from system import System


def ledger(system: System) -> dict[int, dict[str, float]]:
    """When each job that has ended began and ended, by its number."""
    lines = system.ledger.read_text().splitlines() if system.ledger.exists() else []
    pairs = (line.split(" ", 1) for line in lines)
    return {int(number): json.loads(noted) for number, noted in pairs}


def enqueue(system: System, count: int, slow: dict[int, float]) -> None:
    """Enqueue jobs, some of them slow: their seconds by their numbers."""
    system.python(f"import aheadapp; aheadapp.create_app(); aheadapp.enqueue({count}, {slow!r})")


__all__ = ["enqueue", "ledger"]
