"""Who asks, what the API is, and the whole system at a glance."""

from __future__ import annotations

from typing import Any

from flask import request

from ....domain.actor import PERMISSIONS
from ....errors import DatabaseUnavailable
from ....observe import front, trends
from ....observe import overview as overviews
from ....observe import tasks as by_task
from ....observe import workers as seen
from ..call import Call
from ..routing import get
from ..shapes.overview import SystemTrend, Tasks, TasksWanted, TrendWanted, Verdict
from ..shapes.system import Me, Overview, Workers

PATIENCE = 20.0
"""The time limit in seconds for a trend that this process has not computed before."""


@get("/me", Me, permission=None)
def me(call: Call) -> Any:
    """Who you are, and what you may do."""
    return {"name": call.actor.name, "permissions": [each for each in PERMISSIONS if call.actor.may(each)]}


@get("/openapi.json", None, permission=None)
def openapi(call: Call) -> Any:
    """The OpenAPI document of this API."""
    from .. import openapi as documents

    return documents.document(request.script_root + call.services.settings.dashboard_prefix)


@get("/overview", Overview)
def overview(call: Call) -> Any:
    """Queues, workers, Beat, dead letters and totals, within 3 s.

    A part that cannot be read is `{"unavailable": why}`.
    """
    return overviews.overview(call.services).as_dict()


@get("/overview/verdict", Verdict)
def overview_verdict(call: Call) -> Any:
    """Is it well? One sentence, and all that is wrong, the worst first.

    `tone` is `bad`, `warn`, `good`, or `quiet` if nothing has run yet. A part that cannot be asked is in the sentence,
    so this answers with 200 then, too.
    """
    return front.front(call.services).verdict.as_dict()


@get("/overview/trend", SystemTrend, query=TrendWanted)
def overview_trend(call: Call) -> Any:
    """Ends, deaths, waits and runtimes over the last hour, day or 30 days (`month`), and the deploys within.

    The points of a day are up to one minute old, those of 30 days up to ten.
    """
    found = trends.kept(call.services, trends.Period(call.query.period), timeout=PATIENCE)
    if not found.ok:
        raise DatabaseUnavailable(f"{found.error}")
    return found.value.as_dict()


@get("/tasks", Tasks, query=TasksWanted)
def tasks(call: Call) -> Any:
    """Each task over the last hour, day or 30 days (`month`): how often it ran and failed, how long it took and waited.

    The sums of a day are up to one minute old, those of 30 days up to ten.
    """
    found = by_task.kept(call.services, trends.Period(call.query.period), timeout=PATIENCE)
    if not found.ok:
        raise DatabaseUnavailable(f"{found.error}")
    return found.value.as_dict(by_task.Order(call.query.order))


@get("/workers", Workers)
def workers(call: Call) -> Any:
    """The workers, and the jobs that each runs."""
    return {"workers": [seen.as_dict(row) for row in seen.seen(call.services, call.now)]}
