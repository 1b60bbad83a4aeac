"""``flask jobs workers``: who runs, since when, and what each one does now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from .base import ago, cells, console, echo_json, json_option, say, services, size, table

if TYPE_CHECKING:
    from rich.table import Table

    from ..observe.workers import WorkerRow

MOST_JOBS = 20
"""Running jobs of one worker that the table shows, those that run for longest first; ``--json`` has all."""


@click.command()
@json_option
@with_appcontext
def workers(as_json: bool) -> None:
    """Show the workers, and the jobs that each runs."""
    from ..domain.job import utcnow
    from ..observe import workers as seen

    now = utcnow()
    found = seen.seen(services(), now)
    if as_json:
        echo_json([seen.as_dict(row) for row in found])
    elif not found:
        say("No worker has reported. Start one: flask jobs worker")
    else:
        console().print(_workers(found, now))
        if any(row.busy for row in found):
            console().print(_running(found, now))


def _workers(rows: Sequence[WorkerRow], now: datetime) -> Table:
    right = {"justify": "right"}
    columns = (
        ("worker", {"ratio": 3, "min_width": 9}),
        ("state", {"ratio": 2, "min_width": 7}),
        ("busy", right),
        "pool",
        ("queues", {"ratio": 2, "min_width": 6}),
        ("version", {"ratio": 1, "min_width": 8}),
        ("memory", right),
        ("up", right),
        ("seen", right),
    )
    shown = table(*columns, title="Workers")
    for row in rows:
        shown.add_row(
            *cells(
                [row.name, row.problem or "healthy", f"{len(row.busy)}/{row.concurrency}", row.pool,
                 ", ".join(row.queues), row.app_version, size(row.memory), _since(row.started_at, now),
                 _since(row.seen_at, now)]
            )
        )  # fmt: skip
    return shown


def _running(rows: Sequence[WorkerRow], now: datetime) -> Table:
    shown = table(
        ("worker", {"ratio": 2}), ("job", {"min_width": 36}), ("task", {"ratio": 2}), ("for", {"justify": "right"}),
        title="Running jobs",
    )  # fmt: skip
    for row in rows:
        jobs = sorted(row.busy, key=lambda job: float(job.get("started_at") or 0) or now.timestamp())
        for job in jobs[:MOST_JOBS]:
            started = job.get("started_at")
            runs = None if not started else ago(max(0.0, now.timestamp() - float(started)))
            shown.add_row(*cells([row.name, job.get("job_id"), job.get("task"), runs]))
        if len(jobs) > MOST_JOBS:
            shown.add_row(*cells([row.name, f"and {len(jobs) - MOST_JOBS} more", "", ""]))
    return shown


def _since(moment: datetime, now: datetime) -> str:
    return ago(max(0.0, (now - moment).total_seconds()))


__all__ = ["workers"]
