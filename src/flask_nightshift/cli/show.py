"""``flask jobs show``: one job, its attempts and relatives, what comes next, and why it waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext

from ..text.printable import in_a_line
from .base import ago, cells, console, echo_json, json_option, say, services, short_error, table, when

if TYPE_CHECKING:
    from ..domain.relatives import Branch, Relative
    from ..observe.job_detail import JobDetail, Next
    from ..operations.jobs import JobRecord

MOST_SIBLINGS = 10
"""Jobs that the tree shows below one; open ones first."""
_INDENT = " " * 10


@click.command()
@click.argument("job_id")
@json_option
@with_appcontext
def show(job_id: str, as_json: bool) -> None:
    """One job: its attempts, its relatives, what comes next, and why it waits.

    JOB_ID may be shortened to its start or its end.
    """
    from ..observe import job_detail
    from ..operations import jobs

    current = services()
    found = job_detail.detail(current, jobs.find(current, job_id))
    if as_json:
        echo_json(found.as_dict())
    else:
        _print(found, current.celery.tasks.get(found.record.task))


def _print(found: JobDetail, task: Any) -> None:
    for name, value in _lines(found, task).items():
        if value is not None and value != "":
            say(f"{name:<9} {in_a_line(value)}")
    if found.waiting is not None:
        say(f"{'waits':<9} {in_a_line(found.waiting.reason.sentence)}")
        for each in found.waiting.also:
            say(f"{_INDENT}also: {in_a_line(each.sentence)}")
    _print_next(found.following)
    _print_attempts(found.record)
    _print_trees(found)


def _lines(found: JobDetail, task: Any) -> dict[str, Any]:
    record, parent = found.record, found.family.parent if found.family is not None else None
    return {
        "job": record.id,
        "task": record.task,
        "queue": f"{record.queue}, {found.paused}" if found.paused is not None else record.queue,
        "state": record.state,
        "attempts": _attempts(record, task),
        "args": record.args,
        "kwargs": record.kwargs,
        "progress": _progress(record),
        "result": record.result,
        "error": f"{record.error['error']}: {record.error['message']}" if record.error else None,
        "enqueued": when(record.enqueued_at),
        "started": when(record.started_at),
        "finished": when(record.finished_at) if record.finished_at else None,
        "due": when(record.due_at) if record.due_at and not record.finished_at else None,
        "worker": record.worker,
        "request": record.request_id,
        "tags": ", ".join(record.tags),
        "parent": f"{parent.job_id} ({_told(parent)})" if parent is not None else None,
        "copy of": found.family.this.origin_id if found.family is not None else None,
        "copies": ", ".join(found.family.copies) if found.family is not None else None,
    }


def _attempts(record: JobRecord, task: Any) -> str:
    """The number of attempts and its limit, which the history knows only of a job that was retried."""
    limit = record.max_retries if record.max_retries is not None else getattr(task, "max_retries", -1)
    if limit is None:
        return f"{record.attempts}, retries without limit"
    return f"{record.attempts}" + (f" of {limit + 1}" if limit >= record.attempts - 1 else "")


def _progress(record: JobRecord) -> str | None:
    """``42 of 100 (42 %): a note (12:00:03)``."""
    said = record.progress
    if said is None:
        return None
    done, total, note = said.get("done"), said.get("total"), said.get("message")
    text = f"{done}" if total is None else f"{done} of {total}"
    if total and isinstance(done, int | float) and isinstance(total, int | float):
        text += f" ({100 * done / total:.0f} %)"
    return text + (f": {note}" if note else "") + f" ({when(record.progress_at)})"


def _print_next(following: Sequence[Next]) -> None:
    for at, each in enumerate(following):
        say(f"{'next' if not at else '':<9} {in_a_line(_following(each))}")


def _following(each: Next) -> str:
    match each.what:
        case "retry":
            return f"its retry at {when(each.at)}"
        case "start":
            return f"its start at {when(each.at)}"
        case "chord":
            return f"{each.task} {each.job_id}, the body of its chord, after all its parts"
    return f"{each.task} {each.job_id}"


def _print_attempts(record: JobRecord) -> None:
    if not record.history:
        return
    right = {"justify": "right"}
    columns = (("#", right), "started (UTC)", "outcome", ("took", right), ("error", {"ratio": 1}))
    shown = table(*columns, title="Attempts")
    for attempt in record.history:
        number = f"{attempt.run + 1}.{attempt.number}" if record.run else attempt.number
        error = short_error(attempt.error, attempt.message)
        shown.add_row(*cells([number, when(attempt.at), attempt.outcome, ago(attempt.runtime), error]))
    console().print(shown)


def _print_trees(found: JobDetail) -> None:
    if not found.trees:
        return
    say("Relatives")
    for branch in found.trees:
        for line in _tree(branch, found.record.id, "", ""):
            say(in_a_line(line))


def _tree(branch: Branch, this: str, first: str, rest: str) -> Iterator[str]:
    """The lines of a tree; ``first`` stands before the first one and ``rest`` before the others."""
    job = branch.job
    mark = "  <- this job" if job.job_id == this else ""
    left = sum(each.job.state != "succeeded" for each in branch.parts)
    waits = f", waits for {left} of {len(branch.parts)} jobs:" if branch.parts and job.state is None else ""
    yield f"{first}{job.task or 'job'} {job.job_id}  {_told(job)}{waits}{mark}"
    below = [*_some(branch.parts, this), *_some(branch.children, this)]
    more = len(branch.parts) + len(branch.children) - len(below)
    for at, each in enumerate(below):
        last = at == len(below) - 1 and not more
        yield from _tree(each, this, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))
    if more:
        yield f"{rest}└─ and {more} more"


def _some(branches: Sequence[Branch], this: str) -> list[Branch]:
    """Up to ``MOST_SIBLINGS`` of them in their order: the job itself, then open ones, then others."""
    ranked = sorted(branches, key=lambda each: (each.job.job_id != this, not each.job.is_open))
    chosen = {each.job.job_id for each in ranked[:MOST_SIBLINGS]}
    return [each for each in branches if each.job.job_id in chosen]


def _told(job: Relative) -> str:
    if job.state is None:
        return "not enqueued yet"
    due = f", due {when(job.due_at)}" if job.state == "retrying" and job.due_at else ""
    return f"{job.state}{due}"


__all__ = ["show"]
