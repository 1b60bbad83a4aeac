"""Workers: what each runs and since when, its version, its memory; and the Beats."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ....observe import workers as model
from ..call import Call, View, show
from ..routing import page


@page("/workers", title="Workers", nav="Workers")
def workers(call: Call) -> View:
    """All workers by name, those that are not healthy first."""
    fleet = model.fleet(call.services, call.now)
    rows = sorted(fleet.rows, key=lambda row: (row.healthy, row.name))
    jobs = {row.name: [job(each, call.now) for each in row.busy] for row in rows}
    return show("workers.html", fleet=fleet, rows=rows, jobs=jobs)


def job(busy: Any, now: datetime) -> dict[str, Any]:
    """A job that runs: its id, task, start, seconds so far, and its time limit in seconds (None without one)."""
    started = busy.get("started_at")
    limit = busy.get("time_limit")
    at = datetime.fromtimestamp(float(started), UTC) if started else None
    return {
        "id": busy.get("job_id"),
        "task": busy.get("task"),
        "started_at": at,
        "limit": float(limit) if limit else None,
        "late": bool(at and limit and (now - at).total_seconds() > 0.8 * float(limit)),
    }


__all__ = ["job", "workers"]
