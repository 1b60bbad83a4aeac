"""The queues: what waits in each, how fast it goes, and whether it is paused; pause, resume, purge."""

from __future__ import annotations

from ....config.queue_names import queue_name
from ....observe import queues as read
from ....operations import pauses
from ....operations import queues as operations
from ....text.counts import plural
from ..call import Call, Done, Refused, View, show
from ..routing import Question, action, page


@page("/queues", title="Queues", nav="Queues")
def queues(call: Call) -> View:
    """All queues: what waits in each, how fast it goes, and whether it is paused."""
    return show("queues.html", seen=read.seen(call.services))


@page("/queues/pause", title="Pause a queue", permission="pause")
def ask_pause(call: Call) -> View:
    """Ask for the reason of a pause."""
    name = _named(call)
    said = f"No worker begins a job of {name} until somebody resumes it. Jobs that run finish, and producers go on."
    return show("confirm.html", section="queues", said=said, post="pause_queue", fields={"queue": name}, verb="Pause",
                back=call.url("queues"), why=True)  # fmt: skip


@action("/queues/pause/now", permission="pause", about=lambda call: f"queue {_named(call)}")
def pause_queue(call: Call) -> Done:
    """Pause a queue."""
    name = _named(call)
    (change,) = pauses.pause(call.services, [name], reason=call.reason, by=call.actor.name)
    doubt = f" Note: {change.doubt}" if change.doubt else ""
    said = f"{name} is paused: no worker begins a job of it.{doubt}"
    return Done(said=said, to=call.url("queues"), good=not change.doubt)


@action(
    "/queues/resume",
    permission="pause",
    verb="resume",
    about=lambda call: f"queue {_named(call)}",
    asks=lambda call: Question(
        f"Resume {_named(call)}? Workers begin its jobs.", "Resume it", call.url("queues"), "primary"
    ),
    at_once=True,
)
def resume_queue(call: Call) -> Done:
    """End the pause of a queue."""
    name = _named(call)
    (change,) = pauses.resume(call.services, [name], by=call.actor.name)
    was = change.before is not None
    said = f"{name} is resumed: workers begin its jobs." if was else f"{name} was not paused."
    return Done(said=said, to=call.url("queues"), count=int(was), good=was)


@page("/queues/purge", title="Purge a queue", permission="purge")
def ask_purge(call: Call) -> View:
    """Say how many jobs a purge would delete, and ask to type the queue's name."""
    name = _named(call)
    waiting = operations.waiting(call.services, [name])
    said = (
        f"{plural(waiting, 'job', 'wait')} in {name}. A purge deletes them for good: they do not run, and there are no "
        "dead letters of them. Jobs that workers hold already are not touched."
    )
    return show("confirm.html", section="queues", said=said, post="purge_queue", fields={"queue": name}, expected=name,
                verb=f"Delete {plural(waiting, 'job')}", back=call.url("queues"), why=True)  # fmt: skip


@action("/queues/purge/now", permission="purge", about=lambda call: f"queue {_confirmed(call)}")
def purge_queue(call: Call) -> Done:
    """Delete all jobs that wait in a queue."""
    name = _named(call)
    count = operations.purge(call.services, name)
    said = f"{plural(count, 'job')} of {name} deleted."
    return Done(said=said, to=call.url("queues"), count=count)


def _confirmed(call: Call) -> str:
    name = _named(call)
    call.confirmed(name)
    return name


def _named(call: Call) -> str:
    name = call.text("queue")
    if not name:
        raise Refused(400, "Which queue?", "The address names no queue. Choose one on the page of queues.")
    return queue_name("queue", name)
