"""The table of ``make chaos``; it prints a line after each trial."""

from __future__ import annotations

from .faults import FACTS
from .trial import Outcome

WIDTHS = {
    "fault": -16, "broker": -8, "kills": 5, "jobs": 6, "refused": 7, "lost": 4, "dead": 4, "started twice": 13,
    "ended twice": 11, "median": 6, "longest": 7, "took": 5, "": 6,
}  # fmt: skip
"""Of the columns; negative: to the left. ``median`` and ``longest`` are of the recoveries."""


def head() -> str:
    """The first two lines."""
    names = _row(list(WIDTHS))
    return f"{names}\n{'-' * len(names)}"


def line(outcome: Outcome) -> str:
    """One trial, times in seconds."""
    plan, verdict = outcome.plan, outcome.verdict
    counts = [outcome.kills, outcome.jobs, outcome.refused]
    counts += map(len, (verdict.lost, verdict.dead, verdict.started_twice, verdict.ended_twice))
    times = [_seconds(verdict.median), _seconds(verdict.longest), f"{outcome.seconds:.0f}"]
    mark = ("stock" if outcome.stock else "BROKEN") if outcome.broken else "ok"
    return _row([plan.fault.value, plan.broker, *map(str, counts), *times, mark])


def _row(cells: list[str]) -> str:
    return "  ".join(
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, width in zip(cells, WIDTHS.values(), strict=True)
    )


def complaint(outcome: Outcome) -> str:
    """What is broken, with the ids of the jobs."""
    plan = outcome.plan
    said = "\n".join(f"    {text}" for text in outcome.broken)
    return f"  {plan.fault.value} on {plan.broker} (SEED={plan.seed}): {FACTS[plan.fault].what}\n{said}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def shortened(text: str, most: int = 600) -> str:
    """A line that is not too long for a terminal."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text.split())} words)"
