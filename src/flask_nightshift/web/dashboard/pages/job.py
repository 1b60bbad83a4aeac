"""One job: what happened to it, why it waits, what belongs to it, and what can be done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ....domain.job import FINISHED, JobState
from ....domain.record import JobRecord
from ....observe import job_detail
from ....operations import cancelling, copies, delayed
from ....operations import jobs as lookup
from .. import attempts
from ..call import Call, Done, Refused, View, show
from ..routing import Question, action, page

LONGEST = 20_000
"""Characters of arguments and of a result that the page shows."""
_SAFE = "-._~"


@page("/jobs/<path:job_id>", title="Job")
def job(call: Call, job_id: str) -> View:
    """A job by its id, or by the start or the end of it."""
    record = lookup.find(call.services, job_id)
    found = job_detail.detail(call.services, record)
    open_ = record.state not in FINISHED
    is_delayed = (
        record.state in (JobState.QUEUED, JobState.RETRYING) and (record.due_at or call.now) > call.now
    )
    lists_delayed = call.services.broker.capabilities.lists_delayed
    return show(
        "job.html",
        section="jobs",
        found=found,
        job=record,
        picture=attempts.picture(record, call.now),
        links=_links(call.services.settings.links, record),
        result=_result(record) if call.may("view_args") else None,
        arguments=_arguments(record) if call.may("view_args") else None,
        can_cancel=open_ and call.may("cancel"),
        can_kill=record.state is JobState.RUNNING,
        can_copy=_can_copy(call, record, listed=is_delayed and lists_delayed),
        can_run=is_delayed and lists_delayed and call.may("run"),
        open=open_,
        limit=_limit(call, record),
    )


@page("/job", title="Job")
def odd_job(call: Call) -> View:
    """A job whose id cannot be part of a path."""
    return job(call, call.text("job_id"))


def _ask_to_cancel(call: Call) -> Question:
    job_id = _given(call)
    back = call.url("job", job_id=job_id)
    if call.text("kill") == "yes":
        return Question(f"Stop the process that runs the job {job_id}?", "Cancel and stop it", back)
    return Question(f"Cancel the job {job_id}?", "Cancel the job", back)


@action("/jobs/cancel", permission="cancel", about=lambda call: f"job {_given(call)}", asks=_ask_to_cancel)
def cancel_job(call: Call) -> Done:
    """Cancel the job ``job_id``; with ``kill``, stop it if it runs."""
    given = _given(call)
    done = cancelling.cancel(call.services, given, kill=call.text("kill") == "yes", by=call.actor.name)
    if done.removed:
        said = "The job is cancelled."
    elif done.worker is None:
        said = "The job will be cancelled as soon as a worker meets it."
    elif done.kill:
        said = f"{done.worker} was told to stop the job."
    else:
        said = (
            f"{done.worker} runs the job, and was told that it is cancelled. A job that does not ask goes on."
        )
    told = " ".join([said, *(f"{note.rstrip('.')}." for note in done.notes)])
    return Done(
        said=told, to=call.url("job", job_id=done.job_id), target=f"job {done.job_id}", good=not done.notes
    )


@action(
    "/jobs/run-now",
    permission="run",
    about=lambda call: f"job {_given(call)}",
    asks=lambda call: Question(
        f"Run the job {_given(call)} now, before its time?",
        "Run it now",
        call.url("job", job_id=_given(call)),
        "primary",
    ),
    at_once=True,
)
def run_job_now(call: Call) -> Done:
    """Let the delayed job ``job_id`` of ``queue`` start now."""
    given = _given(call)
    moved = delayed.run_now(call.services, call.text("queue") or None, [given]).get(given)
    said = "The job is at the head of its queue." if moved else "The job is not delayed any more."
    return Done(
        said=said,
        to=call.url("job", job_id=given),
        count=int(moved is not None),
        good=moved is not None,
    )


def _given(call: Call) -> str:
    if not (given := call.text("job_id")):
        raise Refused(400, "Which job?", "The form has no job_id.")
    return given


def _can_copy(call: Call, record: JobRecord, *, listed: bool) -> bool:
    """Whether the job's message is kept, so that the job can be enqueued again; ``listed``: among the delayed jobs."""
    if not call.may("run"):
        return False
    if record.state is JobState.DEAD or listed:
        return True
    return record.state not in FINISHED and copies.is_durable(call.services, record.id)


def _limit(call: Call, record: JobRecord) -> int | None:
    """The highest number of attempts; None if it is not known, or if there is none."""
    task = call.services.celery.tasks.get(record.task)
    retries = record.max_retries if record.max_retries is not None else getattr(task, "max_retries", None)
    return retries + 1 if isinstance(retries, int) and retries >= record.attempts - 1 else None


def _links(configured: Mapping[str, str], record: JobRecord) -> list[tuple[str, str]]:
    """The links to other systems; one whose value the job does not have is left out."""
    values = {
        "job_id": record.id, "task": record.task, "queue": record.queue, "request_id": record.request_id,
        "worker": record.worker,
    }  # fmt: skip
    known = {
        name: quote(value.encode("utf-8", "replace"), safe=_SAFE) for name, value in values.items() if value
    }
    found = []
    for name, url in configured.items():
        try:
            found.append((name, url.format_map(known)))
        except KeyError:
            continue
    return found


def _arguments(record: JobRecord) -> list[tuple[str, str]]:
    """The arguments that the job has, as texts."""
    given = (("Positional", record.args), ("By name", record.kwargs))
    return [(name, text[:LONGEST]) for name, text in given if text and text not in ("()", "{}", "[]")]


def _result(record: JobRecord) -> str | None:
    if record.result is None:
        return None
    return _pretty(record.result)[:LONGEST]


def _pretty(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
