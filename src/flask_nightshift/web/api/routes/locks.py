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
    """The locks of unique jobs, by key. A key may contain arguments, so it is hidden without `view_args`."""
    limit = call.query.limit
    found = operations.held(call.services, limit + 1)
    return {"locks": [call.hide(each.as_dict(), "key") for each in found[:limit]], "more": len(found) > limit}


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
