"""Incidents, and actions on all dead letters or jobs that match; workers carry them out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ....domain.actor import CANCEL, DISCARD, REPLAY, RUN, VIEW, VIEW_ARGS
from ....observe import incidents as causes
from ....observe import query
from ....observe.jobs import Filters as JobFilters
from ....operations import audit, bulk
from ....operations.dead_letters import Filters
from ..call import Call
from ..problems import Problem
from ..reading import time
from ..routing import get, post
from ..shapes.actions import (
    AllJobs,
    AllLetters,
    BulkAction,
    BulkActions,
    BulkWanted,
    CancelAll,
    Incident,
    Incidents,
    IncidentsWanted,
    IncidentWanted,
    ReplayAll,
    Started,
)
from ..shapes.jobs import Reason

_STEPS = {"hours": causes.HOUR, "days": causes.DAY}


@get("/incidents", Incidents, query=IncidentsWanted)
def incidents(call: Call) -> Any:
    """Dead letters, grouped by their cause; those of which some wait, unless `status` says any."""
    asked = call.query
    wanted = causes.Wanted(
        asked.status == "open",
        asked.task,
        asked.reason,
        time(call, "since", asked.since),
        by_count=asked.order == "count",
    )
    found = causes.incidents(call.services, wanted, asked.limit, _STEPS[asked.trend], asked.after)
    return {
        "incidents": [each.as_dict() for each in found.found],
        "total": found.total,
        "waiting": found.waiting,
        "after": found.after,
    }


@get("/incidents/<fingerprint>", Incident, query=IncidentWanted)
def incident(call: Call) -> Any:
    """One incident, also if none of its letters waits."""
    return causes.incident(call.services, call.path["fingerprint"], _STEPS[call.query.trend]).as_dict()


@get("/actions", BulkActions, query=BulkWanted)
def actions(call: Call) -> Any:
    """Actions on all that match, the latest first."""
    page = bulk.page(call.services, limit=call.query.limit, after=call.query.after)
    return {"actions": [_shown(call, each) for each in page.actions], "after": page.after}


@get("/actions/<action_id>", BulkAction)
def action(call: Call) -> Any:
    """One such action: how far it is."""
    return _shown(call, bulk.find(call.services, call.path["action_id"]))


@post("/actions/<action_id>/stop", BulkAction, permission=VIEW, any_of=(*bulk.ACTIONS,), body=Reason)
def stop_action(call: Call) -> Any:
    """End an action; what it has done stays done. It needs the permission that the action needed, or `cancel`."""
    found = bulk.find(call.services, call.path["action_id"])
    if not call.actor.may(CANCEL):
        call.needs(found.action if found.action in bulk.ACTIONS else CANCEL)
    about = f"bulk action {found.id}"
    with audit.acting(call.services, "cancel", about, by=call.actor, why=call.body.why) as told:
        stopped = bulk.cancel(call.services, found.id)
        told.acted_on(1)
    return _shown(call, stopped)


@post("/actions/replay", Started, permission=REPLAY, body=ReplayAll)
def replay_all(call: Call) -> Any:
    """Replay all dead letters that match.

    Send an `Idempotency-Key`, so that a repeated request starts no second action.
    """
    return _start(call, bulk.REPLAY, _letters(call), queue=call.body.queue, force=call.body.force)


@post("/actions/discard", Started, permission=DISCARD, body=AllLetters)
def discard_all(call: Call) -> Any:
    """Discard all dead letters that match: their jobs do not run."""
    return _start(call, bulk.DISCARD, _letters(call))


@post("/actions/cancel", Started, permission=CANCEL, body=CancelAll)
def cancel_all(call: Call) -> Any:
    """Cancel all jobs that match."""
    return _start(call, bulk.CANCEL, _jobs(call), kill=call.body.kill)


@post("/actions/run", Started, permission=RUN, body=AllJobs)
def run_all(call: Call) -> Any:
    """Run all delayed jobs that match now (Redis and Valkey)."""
    return _start(call, bulk.RUN, _jobs(call))


def _shown(call: Call, action: bulk.BulkAction) -> dict[str, Any]:
    shown = action.as_dict()
    return shown | {"filters": bulk.shown_filters(shown["filters"], texts=call.actor.may(VIEW_ARGS))}


def _start(call: Call, verb: str, filters: Any, **options: Any) -> dict[str, Any]:
    asked = call.body
    planned = bulk.plan(call.services, verb, filters, options)
    if asked.dry_run:
        return {"total": planned.total, "dry_run": True, "bulk": None}
    started = bulk.start(call.services, planned, by=call.actor, why=asked.why, rate=asked.rate)
    return {"total": planned.total, "dry_run": False, "bulk": _shown(call, started)}


def _letters(call: Call) -> Filters:
    asked = call.body
    found = Filters(
        task=asked.task,
        reason=asked.reason,
        fingerprint=asked.fingerprint,
        since=time(call, "since", asked.since),
    )
    _bounded(call, found, Filters())
    return found


def _jobs(call: Call) -> Any:
    found = query.parse(call.body.q, call.now)
    if found.texts:
        call.needs(VIEW_ARGS, "a search in the text of jobs, which looks in their arguments,")
    _bounded(call, found, JobFilters())
    return found


def _bounded(call: Call, found: Any, unbounded: Any) -> None:
    """Raise ``Problem`` for an action on all that there is, unless ``everything`` says so."""
    if (asdict(found) == asdict(unbounded)) != call.body.everything:
        raise Problem(422, "invalid-body", "give conditions, or everything: true, and not both")
