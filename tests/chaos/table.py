"""The table that ``make chaos`` prints: a line as soon as a trial has ended."""

from __future__ import annotations

from .faults import FACTS, Fault
from .trial import Outcome

COLUMNS = (
    ("fault", 16), ("broker", 8), ("kills", 5), ("jobs", 6), ("refused", 7), ("lost", 4), ("dead", 4),
    ("started twice", 13), ("ended twice", 11), ("recovery median", 15), ("longest", 7), ("took", 5), ("", 6),
)  # fmt: skip


def head() -> str:
    """The first two lines."""
    names = "  ".join(name.ljust(width) if at < 2 else name.rjust(width) for at, (name, width) in _columns())
    return f"{names}\n{'-' * len(names)}"


def line(outcome: Outcome) -> str:
    """One trial. ``+`` behind a number that is broken; times in seconds."""
    verdict = outcome.verdict
    cells = [
        outcome.plan.fault.value,
        outcome.plan.broker,
        str(outcome.kills),
        str(outcome.jobs),
        str(outcome.refused),
        str(len(verdict.lost)),
        str(len(verdict.dead)),
        str(len(verdict.started_twice)),
        str(len(verdict.ended_twice)),
        _seconds(verdict.median),
        _seconds(verdict.longest),
        f"{outcome.seconds:.0f}",
        ("stock" if outcome.stock else "BROKEN") if outcome.broken else "ok",
    ]
    return "  ".join(
        cell.ljust(width) if at < 2 else cell.rjust(width)
        for (at, (_, width)), cell in zip(_columns(), cells, strict=True)
    )


def complaint(outcome: Outcome) -> str:
    """What is broken, with the ids of the jobs."""
    plan = outcome.plan
    said = "\n".join(f"    {_short(text)}" for text in outcome.broken)
    return f"  {plan.fault.value} on {plan.broker} (SEED={plan.seed}): {FACTS[plan.fault].what}\n{said}"


def names(faults: tuple[Fault, ...]) -> str:
    """Faults for people."""
    return ", ".join(fault.value for fault in faults)


def _columns() -> list[tuple[int, tuple[str, int]]]:
    return list(enumerate(COLUMNS))


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _short(text: str, most: int = 2000) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text.split())} words)"
