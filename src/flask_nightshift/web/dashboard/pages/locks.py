"""Locks of unique jobs: who holds them, until when; and releasing one."""

from __future__ import annotations

from ....observe import locks as model
from ....operations import locks as operations
from ..call import Call, Done, Refused, View, show
from ..routing import action, page

SHOWN = 200
"""Locks on the page, by key."""


@page("/locks", title="Locks", nav="Locks")
def locks(call: Call) -> View:
    """The locks by key. A key may contain arguments, so it is hidden from those who may not see them."""
    sees = call.may("view_args")
    after = call.text("after") if sees else ""
    found = model.seen(call.services, SHOWN, after)
    return show(
        "locks.html",
        found=found,
        shown=SHOWN,
        keys=sees,
        more=call.here(after=found.rows[-1].held.key) if found.more and sees else None,
        first=call.here(after=None) if after else None,
    )


@page("/locks/ask", title="Release a lock", permission="run")
def ask_to_release(call: Call) -> View:
    """Ask first: the job that holds the lock may still run."""
    key = _key(call)
    said = (
        f"The lock {key} goes, whoever holds it, and another job can have it. The job that holds it now is not "
        "touched: if it still waits or runs, it goes on, and for a while there may be two."
    )
    back = call.url("locks")
    return show(
        "confirm.html",
        said=said,
        post="release_lock",
        fields={"key": key},
        verb="Release",
        back=back,
        why=True,
    )


@action("/locks/release", permission="run", verb="release", about=lambda call: operations.named(_key(call)))
def release_lock(call: Call) -> Done:
    """Release a lock."""
    key = _key(call)
    lock = operations.release(call.services, key)
    to = call.url("locks")
    if lock is None:
        return Done(said="No job holds that lock any more.", to=to, count=0, good=False)
    return Done(said=f"The lock of {lock.task} is released. The job {lock.job_id} held it.", to=to)


def _key(call: Call) -> str:
    if not call.may("view_args"):
        raise Refused(
            403, "Not for you", "A lock's key may contain arguments of jobs, which you may not see."
        )
    key = call.text("key")
    if not key:
        raise Refused(400, "Which lock?", "Choose one on the page of locks.")
    return key


__all__ = ["ask_to_release", "locks", "release_lock"]
