"""The schedule: look at its entries, and steer them. Each Beat obeys within 2 s."""

from __future__ import annotations

from typing import Any

from ....domain.actor import PAUSE, RUN
from ....observe import schedule as entries
from ....operations import audit
from ....operations import schedule as operations
from ..call import Call
from ..routing import get, post
from ..shapes.jobs import Reason
from ..shapes.schedule import Entries, Entry, EntryPaused, EntryResumed, EntryRun, EntrySkipped

_ARGUMENTS = ("args", "kwargs", "options")


@get("/schedule", Entries)
def schedule(call: Call) -> Any:
    """The entries of the schedule, each with its next and its last run."""
    return {"entries": [call.hide(each.as_dict(), *_ARGUMENTS) for each in entries.seen(call.services)]}


@get("/schedule/<path:entry>", Entry)
def schedule_entry(call: Call) -> Any:
    """One entry with its last runs."""
    return call.hide(entries.one(call.services, call.path["entry"]).as_dict(), *_ARGUMENTS)


@post("/schedule/<path:entry>/run-now", EntryRun, permission=RUN, body=Reason)
def run_entry_now(call: Call) -> Any:
    """Enqueue the job of an entry now, with its options; its next run stays when it was.

    Send an `Idempotency-Key`, so that a repeated request enqueues no second job.
    """
    name = call.path["entry"]
    with audit.acting(call.services, "run", f"entry {name}", by=call.actor, why=call.body.why) as action:
        job_id = operations.run_now(call.services, name)
        action.acted_on(1)
    return {"entry": name, "job_id": job_id}


@post("/schedule/<path:entry>/skip-next", EntrySkipped, permission=PAUSE, body=Reason)
def skip_next_run(call: Call) -> Any:
    """Leave out the next run of an entry that is not left out yet."""
    name = call.path["entry"]
    with audit.acting(call.services, "skip", f"entry {name}", by=call.actor, why=call.body.why) as action:
        skipped = operations.skip_next(call.services, name)
        action.acted_on(1)
    return {"entry": name, "left_out": skipped}


@post("/schedule/<path:entry>/pause", EntryPaused, permission=PAUSE, body=Reason)
def pause_entry(call: Call) -> Any:
    """Enqueue no job of an entry until it is resumed."""
    name = call.path["entry"]
    with audit.acting(call.services, "pause", f"entry {name}", by=call.actor, why=call.body.why) as action:
        found = operations.pause(call.services, [name], by=call.actor.name)
        action.acted_on(1)
    return {"entry": name, "paused_at": found[name]}


@post("/schedule/<path:entry>/resume", EntryResumed, permission=PAUSE, body=Reason)
def resume_entry(call: Call) -> Any:
    """Take back pause and skip-next. The runs that fell into the pause are not made up for."""
    name = call.path["entry"]
    with audit.acting(call.services, "resume", f"entry {name}", by=call.actor, why=call.body.why) as action:
        done = operations.resume(call.services, [name])[name]
        action.acted_on(int(done))
    return {"entry": name, "resumed": done}
