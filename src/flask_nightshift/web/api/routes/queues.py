"""Queues: depths and pauses; pause, resume, purge."""

from __future__ import annotations

from typing import Any

from ....config.queue_names import queue_name
from ....domain.actor import PAUSE, PURGE
from ....observe import queues as rows
from ....operations import audit, pauses
from ....operations import queues as operations
from ..call import Call
from ..problems import Problem
from ..routing import get, post
from ..shapes.jobs import Reason
from ..shapes.system import PauseQueue, Purge, Purged, QueueChange, Queues


@get("/queues", Queues)
def queues(call: Call) -> Any:
    """The queues: jobs in them, the age of the oldest, their rate, pauses and workers.

    A number that cannot be asked now is null, and `problems` says why.
    """
    found = rows.seen(call.services)
    return {"queues": [row.as_dict() for row in found.rows], "problems": found.problems}


@post("/queues/<queue>/pause", QueueChange, permission=PAUSE, body=PauseQueue)
def pause_queue(call: Call) -> Any:
    """Have no worker begin a job of the queue until it is resumed. Running jobs finish.

    A queue that is paused already gets the new reason.
    """
    if call.body.reason and call.body.why:
        raise Problem(422, "invalid-body", "give reason or why, which mean the same, and not both")
    name, reason = call.path["queue"], call.body.reason or call.body.why
    with audit.acting(call.services, "pause", f"queue {name}", by=call.actor, why=reason) as action:
        (change,) = pauses.pause(call.services, [name], reason=reason, by=call.actor.name)
        action.acted_on(1)
    return change.as_dict()


@post("/queues/<queue>/resume", QueueChange, permission=PAUSE, body=Reason)
def resume_queue(call: Call) -> Any:
    """End the pause of the queue; `before` is null if it was not paused."""
    name = call.path["queue"]
    with audit.acting(call.services, "resume", f"queue {name}", by=call.actor, why=call.body.why) as action:
        (change,) = pauses.resume(call.services, [name], by=call.actor.name)
        action.acted_on(int(change.before is not None))
    return change.as_dict()


@post("/queues/<queue>/purge", Purged, permission=PURGE, body=Purge)
def purge_queue(call: Call) -> Any:
    """Delete the jobs that wait in the queue. They are gone for good: not run, not kept as dead letters."""
    name = queue_name("queue", call.path["queue"])
    if call.body.confirm != name:
        raise Problem(
            422, "not-confirmed", f"confirm: repeat the name of the queue, {name!r}; nothing was deleted"
        )
    with audit.acting(call.services, "purge", f"queue {name}", by=call.actor, why=call.body.why) as action:
        deleted = operations.purge(call.services, name)
        action.acted_on(deleted)
    return {"queue": name, "deleted": deleted}
