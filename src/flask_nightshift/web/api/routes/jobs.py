"""Jobs: list, show, cancel; delayed ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ....domain.actor import CANCEL, RUN, VIEW_ARGS
from ....observe import job_detail, query
from ....observe import jobs as pages
from ....operations import audit, cancelling, delayed
from ....operations import jobs as operations
from ..call import Call
from ..problems import Problem
from ..reading import time
from ..routing import get, post
from ..shapes.jobs import (
    Cancel,
    Cancellation,
    DelayedJobs,
    DelayedWanted,
    JobDetail,
    JobPage,
    JobsWanted,
    Reason,
    RunNow,
)

_NAMED = ("state", "task", "queue", "worker", "error", "tag")


@get("/jobs", JobPage, query=JobsWanted)
def jobs(call: Call) -> Any:
    """Jobs from the history, the latest enqueued first. A job meets all conditions."""
    filters = _filters(call)
    if filters.texts:
        call.needs(VIEW_ARGS, "a search in the text of jobs, which looks in their arguments,")
    page = pages.page(call.services.store, filters, limit=call.query.limit, after=call.query.after)
    shown = page.as_dict()
    return shown | {"jobs": [call.hide(job, "args", "kwargs") for job in shown["jobs"]]}


@get("/jobs/<job_id>", JobDetail)
def job(call: Call) -> Any:
    """One job: its attempts, its relatives, what comes next, and why it waits.

    The id may be shortened to its start or its end.
    """
    record = operations.find(call.services, call.path["job_id"])
    return call.hide(job_detail.detail(call.services, record).as_dict(), "args", "kwargs", "result")


@post("/jobs/<job_id>/cancel", Cancellation, permission=CANCEL, body=Cancel)
def cancel_job(call: Call) -> Any:
    """Cancel a job wherever it is: it does not run, or stops at its next `check_cancelled()`.

    A job that has ended, or is cancelled already, is a conflict.
    """
    given = call.path["job_id"]
    with audit.acting(call.services, "cancel", f"job {given}", by=call.actor, why=call.body.why) as action:
        done = cancelling.cancel(call.services, given, kill=call.body.kill, by=call.actor.name)
        action.acted_on(1, f"job {done.job_id}")
    return done.as_dict()


@post("/jobs/<job_id>/run-now", RunNow, permission=RUN, body=Reason)
def run_job_now(call: Call) -> Any:
    """Put a delayed job at the head of its queue (Redis and Valkey)."""
    given = call.path["job_id"]
    names = delayed.queues(call.services, None)
    (job_id,) = delayed.find(call.services, names, [given])
    with audit.acting(call.services, "run", f"job {job_id}", by=call.actor, why=call.body.why) as action:
        queue = next((name for name in names if delayed.run_now(call.services, [name], job_id)), None)
        if queue is None:
            raise Problem(404, "job-not-delayed", f"{job_id!r} is not delayed (any more)")
        action.acted_on(1)
    return {"job_id": job_id, "queue": queue}


@get("/delayed", DelayedJobs, query=DelayedWanted, conflicts=True)
def delayed_jobs(call: Call) -> Any:
    """Jobs that wait for their time (Redis and Valkey), the soonest first."""
    limit = call.query.limit
    names = delayed.queues(call.services, call.query.queue)
    found = delayed.soonest(call.services, names, limit + 1)
    return {"jobs": [each.as_dict() for each in found[:limit]], "more": len(found) > limit}


def _filters(call: Call) -> Any:
    asked = call.query
    found = query.parse(asked.q or "", call.now)
    named: dict[str, Any] = {name: value for name in _NAMED if (value := getattr(asked, name)) is not None}
    for name in ("since", "until"):
        if (found_at := time(call, name, getattr(asked, name))) is not None:
            named[name] = found_at
    if asked.search is not None:
        if not asked.search.strip():
            raise Problem(422, "invalid-query", "search: give a text to look for")
        named["search"] = asked.search
    return query.joined(found, replace(pages.Filters(), **named))
