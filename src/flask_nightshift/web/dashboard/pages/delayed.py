"""Jobs that wait for their time: run them now, or cancel them."""

from __future__ import annotations

from ....domain.job import JobState
from ....errors import JobEnded, JobNotFound
from ....observe import delayed as read
from ....observe.jobs import Filters
from ....observe.query import text_of
from ....operations import audit, cancelling
from ....operations import delayed as operations
from ....text.counts import plural
from ....text.patterns import exactly
from ..call import Call, Done, Refused, View, show
from ..routing import action, page

ROWS = 50
_TABS = {"": None, "delayed": JobState.QUEUED, "retrying": JobState.RETRYING}


@page("/delayed", title="Delayed and retrying", nav="Delayed")
def delayed(call: Call) -> View:
    """The delayed jobs, the soonest first."""
    kind, task, queue = call.text("kind"), call.text("task"), call.text("queue")
    if kind not in _TABS:
        raise Refused(400, "There is no such list", "Choose all, delayed or retrying.")
    after = call.text("after") or None
    found = read.page(
        call.services, call.now, state=_TABS[kind], task=task, queue=queue, limit=ROWS, after=after
    )
    filters = Filters(
        state=_TABS[kind], task=exactly(task) if task else None, queue=exactly(queue) if queue else None
    )
    return show(
        "delayed.html",
        page=found,
        kind=kind,
        task=task,
        queue=queue,
        queues=[(name, name) for name in call.services.queues()],
        can_run=call.services.broker.capabilities.lists_delayed,
        everything=text_of(filters),
        tabs=[
            ("All", call.here(kind=None, after=None), kind == ""),
            ("Delayed", call.here(kind="delayed", after=None), kind == "delayed"),
            ("Waiting for a retry", call.here(kind="retrying", after=None), kind == "retrying"),
        ],
        later=call.here(after=found.after) if found.after else None,
        first=call.here(after=None) if after else None,
    )


def _chosen(call: Call) -> list[str]:
    chosen = list(dict.fromkeys(each for each in call.texts("id") if each))[:ROWS]
    if not chosen:
        raise Refused(400, "No job is chosen", "Go back, choose one or more jobs of the list, and try again.")
    return chosen


def _about(call: Call) -> str:
    return audit.named("job", _chosen(call))


@action("/delayed/run", permission="run", about=_about)
def run_delayed(call: Call) -> Done:
    """Put the chosen jobs at the heads of their queues."""
    chosen = _chosen(call)
    queues = operations.queues(call.services, None)
    done = [job_id for job_id in chosen if operations.run_now(call.services, queues, job_id)]
    missed = len(chosen) - len(done)
    said = f"{plural(len(done), 'job')} moved to the head of the queue."
    return _done(call, f"{said}{_not_there(missed)}", len(done))


@action("/delayed/cancel", permission="cancel", about=_about)
def cancel_delayed(call: Call) -> Done:
    """Cancel the chosen jobs."""
    chosen, done = _chosen(call), 0
    for job_id in chosen:
        try:
            cancelling.cancel(call.services, job_id, by=call.actor.name)
        except (JobEnded, JobNotFound):
            continue
        done += 1
    return _done(call, f"{plural(done, 'job')} cancelled.{_not_there(len(chosen) - done)}", done)


def _not_there(missed: int) -> str:
    return f" {plural(missed, 'other')} had moved on before." if missed else ""


def _done(call: Call, said: str, count: int) -> Done:
    return Done(said=said, to=call.url("delayed", kind=call.text("kind")), count=count, good=count > 0)
