"""The locks of unique jobs."""

from __future__ import annotations

from typing import Any

from ....domain.actor import RUN, VIEW_ARGS
from ....operations import audit
from ....operations import locks as operations
from ..call import Call
from ..problems import Problem
from ..routing import get, post
from ..shapes.system import Lock, Locks, LocksWanted, ReleaseLock


@get("/locks", Locks, query=LocksWanted)
def locks(call: Call) -> Any:
    """The locks of unique jobs, by key. A key may contain arguments, so it is hidden without `view_args`.

    The key of a page is that of its last lock, so there is none without `view_args`, either.
    """
    limit, sees = call.query.limit, call.actor.may(VIEW_ARGS)
    if call.query.after is not None:
        call.needs(VIEW_ARGS, "the next page of locks, which their keys order,")
    found = operations.held(call.services, limit + 1, call.query.after or "")
    shown, more = found[:limit], len(found) > limit
    return {
        "locks": [call.hide(each.as_dict(), "key") for each in shown],
        "more": more,
        "after": shown[-1].key if more and sees else None,
    }


@post("/locks/release", Lock, permission=RUN, also=VIEW_ARGS, body=ReleaseLock)
def release_lock(call: Call) -> Any:
    """Release a lock, so that another job can have it. The job that holds it is not touched.

    A key may contain arguments of the job.
    """
    key = call.body.key
    about = operations.named(key)
    with audit.acting(call.services, "release", about, by=call.actor, why=call.body.why) as action:
        lock = operations.release(call.services, key)
        if lock is None:
            raise Problem(404, "lock-not-found", f"no job holds the lock {key[:200]!r}")
        action.acted_on(1)
    return lock.as_dict()
