"""Jobs: list, show, cancel; delayed ones."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

from ....domain.actor import CANCEL, EDIT, RUN, VIEW_ARGS
from ....domain.job import JobState
from ....errors import InvalidKey
from ....observe import delayed as waiting
from ....observe import job_counts, job_detail, query
from ....observe import jobs as pages
from ....observe.job_keys import Key
from ....operations import audit, cancelling, changing, copies, delayed
from ....operations import jobs as operations
from ..call import Call
from ..problems import Problem
from ..reading import changed_arguments, time
from ..routing import get, post
from ..shapes.copies import Copied, Copy, CopyChanged, JobArguments
from ..shapes.due import DueJobs, DueWanted
from ..shapes.jobs import (
    Cancel,
    Cancellation,
    DelayedJobs,
    DelayedWanted,
    JobCount,
    JobDetail,
    JobPage,
    JobsCounted,
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


@get("/job-count", JobCount, query=JobsCounted)
def job_count(call: Call) -> Any:
    """How many jobs meet all conditions, up to 10,000; a search for a text counts for a limited time."""
    filters = _filters(call)
    if filters.texts:
        call.needs(VIEW_ARGS, "a search in the text of jobs, which looks in their arguments,")
    return job_counts.count(call.services.store, filters).as_dict()


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
    (job_id,) = delayed.find(call.services, None, [given])
    with audit.acting(call.services, "run", f"job {job_id}", by=call.actor, why=call.body.why) as action:
        queue = delayed.run_now(call.services, None, [job_id]).get(job_id)
        if queue is None:
            raise Problem(404, "job-not-delayed", f"{job_id!r} is not delayed (any more)")
        action.acted_on(1)
    return {"job_id": job_id, "queue": queue}


@get("/jobs/<job_id>/arguments", JobArguments, permission=VIEW_ARGS, conflicts=True)
def job_arguments(call: Call) -> Any:
    """The arguments of a job, to change them for a replay or a copy.

    The job's message has to be kept: as a dead letter, a durable job that has not ended, or a delayed job.
    """
    found = copies.original(call.services, call.path["job_id"])
    shown = copies.editable(call.services, found)
    return {
        "task": found.task,
        "queue": found.queue,
        "args": json.loads(shown.args) if shown.args else None,
        "kwargs": json.loads(shown.kwargs) if shown.kwargs else None,
        "said": [each for each in shown.said if each],
        "parameters": changing.parameters(call.services, found.task),
    }


@post("/jobs/<job_id>/copy", Copied, permission=RUN, body=Copy)
def copy_job(call: Call) -> Any:
    """Enqueue a job again, as a new one that runs at once; its message has to be kept.

    Send an `Idempotency-Key`, so that a repeated request enqueues no second job.
    """
    return _copied(call, "run")


@post("/jobs/<job_id>/copy-changed", Copied, permission=EDIT, also=VIEW_ARGS, body=CopyChanged)
def copy_job_changed(call: Call) -> Any:
    """Enqueue a copy of a job with other arguments, which are checked against its task."""
    return _copied(call, "edit", **changed_arguments(call, "/jobs/{job_id}/copy enqueues it as it was"))


@get("/delayed", DelayedJobs, query=DelayedWanted, conflicts=True)
def delayed_jobs(call: Call) -> Any:
    """Jobs that wait for their time as the broker lists them (Redis and Valkey), the soonest first.

    `/due` lists those that the history knows, on every broker.
    """
    limit = call.query.limit
    names = delayed.queues(call.services, call.query.queue)
    found = delayed.following(call.services, names, limit + 1, _place(call.query.after))
    shown, more = found[:limit], len(found) > limit
    last = shown[-1] if more else None
    return {
        "jobs": [each.as_dict() for each in shown],
        "more": more,
        "after": pages.key_of_page(Key(last.due, last.job_id)) if last else None,
    }


def _place(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    key = pages.key_from(after)
    if key.at is None:
        raise InvalidKey(f"{after!r} is not the key of a page of delayed jobs: each has a time")
    return key.at, key.id


@get("/due", DueJobs, query=DueWanted)
def due_jobs(call: Call) -> Any:
    """Jobs of the history that wait for their time, delayed ones and retries, the soonest first (every broker)."""
    asked = call.query
    state = JobState(asked.state) if asked.state else None
    found = waiting.page(
        call.services,
        call.now,
        state=state,
        task=asked.task or "",
        queue=asked.queue or "",
        limit=asked.limit,
        after=asked.after,
    )
    return {"jobs": [each.as_dict() for each in found.jobs], "after": found.after}


def _copied(
    call: Call, verb: str, args: str | None = None, kwargs: str | None = None
) -> dict[str, str | bool]:
    given = call.path["job_id"]
    target = f"a copy of job {given}"
    with audit.acting(call.services, verb, target, by=call.actor, why=call.body.why) as action:
        made = copies.enqueue(
            call.services,
            given,
            args=args,
            kwargs=kwargs,
            queue=call.body.queue,
            unchanged=call.actor.may(RUN),
        )
        action.acted_on(1, f"job {made.job_id}, a copy of {made.original_id}")
    return made.as_dict()


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
