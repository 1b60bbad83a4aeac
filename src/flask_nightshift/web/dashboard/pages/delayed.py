"""Jobs that wait for their time: run them now, or cancel them."""

from __future__ import annotations

from ....domain.job import JobState
from ....observe import delayed as read
from ....observe.jobs import Filters
from ....observe.query import text_of
from ....observe.waiting_job import WaitingJob
from ....operations import audit, cancelling
from ....operations import delayed as operations
from ....operations import jobs as lookup
from ....operations.delayed import Known
from ....text.counts import plural
from ....text.moments import iso_time
from ....text.patterns import exactly
from ..call import Call, Done, Refused, View, show
from ..routing import Question, action, page

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
    lists, note = call.services.broker.capabilities.lists_delayed, lookup.unrecorded(call.services)
    return show(
        "delayed.html",
        page=found,
        kind=kind,
        task=task,
        queue=queue,
        queues=[(name, name) for name in call.services.queues()],
        can_run=lists,
        recorded=not note,
        note="" if lists else note,
        place=place,
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


def _ask_to_run(call: Call) -> Question:
    count = len(_chosen(call))
    said = f"Run {plural(count, 'delayed job')} now, before {'its' if count == 1 else 'their'} time?"
    return Question(said, f"Run {plural(count, 'job')} now", _list(call), "primary")


def _ask_to_cancel(call: Call) -> Question:
    count = len(_chosen(call))
    said = f"Cancel {plural(count, 'job')}? {'It does' if count == 1 else 'They do'} not run."
    return Question(said, f"Cancel {plural(count, 'job')}", _list(call))


@action("/delayed/run", permission="run", about=_about, asks=_ask_to_run, at_once=True)
def run_delayed(call: Call) -> Done:
    """Put the chosen jobs at the heads of their queues."""
    chosen = _chosen(call)
    done = operations.run_now(call.services, None, chosen, _places(call))
    said = f"{plural(len(done), 'job')} moved to the head of the queue."
    return _done(call, f"{said}{_not_there(len(chosen) - len(done))}", len(done))


@action("/delayed/cancel", permission="cancel", about=_about, asks=_ask_to_cancel)
def cancel_delayed(call: Call) -> Done:
    """Cancel the chosen jobs; workers drop those that cannot be taken out of their queues now."""
    chosen = _chosen(call)
    done = cancelling.cancel_some(call.services, chosen, _places(call), by=call.actor.name)
    count = done.removed + done.told
    said = f"{plural(done.removed, 'job')} cancelled." if done.removed or not count else ""
    if done.told:
        said = f"{said} {plural(done.told, 'job')} will be cancelled as soon as a worker meets {_them(done.told)}."
    said = " ".join(
        [f"{said}{_not_there(len(chosen) - count)}", *(f"{note.rstrip('.')}." for note in done.notes)]
    )
    return _done(call, said.strip(), count, good=not done.notes)


def place(job: WaitingJob) -> str:
    """Where the page has seen the job, for its forms; ``_places`` reads it."""
    return f"{job.due.isoformat()},{job.queue},{job.id}"


def _places(call: Call) -> list[Known]:
    """Where the page saw its jobs. What does not say so is left out: those jobs are looked for in all queues."""
    found = []
    for text in call.texts("place")[:ROWS]:
        due, _, rest = text.partition(",")
        queue, _, job_id = rest.partition(",")
        if (at := iso_time(due)) is not None and queue and job_id:
            found.append(Known(job_id, queue, at))
    return found


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def _not_there(missed: int) -> str:
    return f" {plural(missed, 'other')} had moved on before." if missed else ""


def _done(call: Call, said: str, count: int, *, good: bool = True) -> Done:
    return Done(said=said, to=_list(call), count=count, good=good and count > 0)


def _list(call: Call) -> str:
    return call.url("delayed", kind=call.text("kind"))
