"""The table of ``make chaos``; it prints a line after each trial."""

from __future__ import annotations

from collections.abc import Mapping

from .beat_faults import BeatOutcome
from .faults import FACTS
from .trial import Outcome

WIDTHS = {
    "fault": -16, "broker": -8, "kills": 5, "jobs": 6, "refused": 7, "lost": 4, "dead": 4, "started twice": 13,
    "ended twice": 11, "median": 6, "longest": 7, "took": 5, "": 6,
}  # fmt: skip
"""Of the columns; negative: to the left."""
MEANINGS = {
    "kills": "how often the fault was injected; for `poison`, how many workers the job killed",
    "jobs": "jobs that were accepted",
    "refused": "calls that raised `BrokerUnavailable`",
    "lost": "accepted jobs that neither succeeded nor became a dead letter. Stock Celery keeps no dead letters, so "
    "there a job that failed for good does not count as lost",
    "dead": "dead letters. `poison` and `retry-storm` cause them on purpose. Otherwise a job was delivered too often "
    "(`delivery_limit`), because its workers were killed again and again. Only deliveries that started count",
    "started twice": "jobs with an attempt that started more than once",
    "ended twice": "jobs that finished more than once, or that finished and became a dead letter",
    "median": "recovery in seconds. For faults of workers: from the fault until a job that the worker held started "
    "again. For other faults: from the end of the outage until any job started",
    "longest": "the longest recovery",
    "took": "seconds for the whole trial, including the start of the workers",
}
"""Of the columns that do not explain themselves."""
BEAT_WIDTHS = {
    "fault": -17, "broker": -8, "database": -10, "hits": 5, "ticks": 6, "missing": 7, "twice": 5, "again": 5, "took": 5,
    "": 6,
}  # fmt: skip
"""Of the faults of Beats."""
BEAT_MEANINGS = {
    "hits": "how often the fault was injected; for `clocks-apart`, how many Beats noticed it",
    "ticks": "ticks that were due, of all entries",
    "missing": "ticks that did not run, or ran at a time that the schedule does not have",
    "twice": "ticks that ran twice",
    "again": "jobs that the broker delivered again, which is no second tick",
}
"""The same."""


def head(widths: Mapping[str, int] = WIDTHS) -> str:
    """The first two lines."""
    names = _row(list(widths), widths)
    return f"{names}\n{'-' * len(names)}"


def line(outcome: Outcome) -> str:
    """One trial, times in seconds."""
    plan, verdict = outcome.plan, outcome.verdict
    counts = [outcome.kills, outcome.jobs, outcome.refused]
    counts += map(len, (verdict.lost, verdict.dead, verdict.started_twice, verdict.ended_twice))
    times = [_seconds(verdict.median), _seconds(verdict.longest), f"{outcome.seconds:.0f}"]
    mark = ("stock" if outcome.stock else "BROKEN") if outcome.broken else "ok"
    return _row([plan.fault.value, plan.broker, *map(str, counts), *times, mark])


def beat_line(outcome: BeatOutcome, broker: str, database: str) -> str:
    """One trial of Beats."""
    accounts = outcome.accounts
    wrong = (
        sum(len(each.missing) + len(each.odd) for each in accounts),
        sum(len(each.twice) for each in accounts),
    )
    counts = (outcome.hits, sum(each.due for each in accounts), *wrong, outcome.again)
    mark = "BROKEN" if outcome.broken else "ok"
    took = f"{outcome.seconds:.0f}"
    return _row([outcome.fault.value, broker, database, *map(str, counts), took, mark], BEAT_WIDTHS)


def _row(cells: list[str], widths: Mapping[str, int] = WIDTHS) -> str:
    return "  ".join(
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, width in zip(cells, widths.values(), strict=True)
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
