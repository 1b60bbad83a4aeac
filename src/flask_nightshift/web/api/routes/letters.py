"""Dead letters: list, show, replay, discard."""

from __future__ import annotations

from typing import Any

from ....domain.actor import DISCARD, EDIT, REPLAY, VIEW_ARGS
from ....observe import dead_letters as pages
from ....operations import audit
from ....operations import dead_letters as operations
from ..call import Call
from ..reading import changed_arguments, time
from ..routing import get, post
from ..shapes.letters import (
    DeadLetter,
    DeadLetterPage,
    Discard,
    Discarded,
    LettersWanted,
    Replay,
    ReplayChanged,
    Replayed,
)


@get("/dead-letters", DeadLetterPage, query=LettersWanted)
def dead_letters(call: Call) -> Any:
    """Dead letters, the latest death first; those that wait for a decision, unless `status` says others."""
    asked = call.query
    filters = operations.Filters(
        task=asked.task,
        reason=asked.reason,
        since=time(call, "since", asked.since),
        fingerprint=asked.fingerprint,
        status=None if asked.status == "any" else asked.status,
    )
    page = pages.page(call.services, filters, limit=asked.limit, after=asked.after)
    return {"dead_letters": [_shown(call, each) for each in page.letters], "after": page.after}


@get("/dead-letters/<letter_id>", DeadLetter)
def dead_letter(call: Call) -> Any:
    """One dead letter, by its id or its job's, or the start or end of either."""
    return _shown(call, operations.find(call.services, call.path["letter_id"]))


@post("/dead-letters/replay", Replayed, permission=REPLAY, body=Replay)
def replay_dead_letters(call: Call) -> Any:
    """Run up to 100 dead jobs again: same job ids, fresh attempts.

    A letter that was replayed before is skipped, so a request that is repeated runs no job twice.
    """
    asked = call.body
    filters = operations.named(call.services, asked.ids)
    if asked.dry_run:
        done = operations.replay(call.services, filters, dry_run=True, force=asked.force, queue=asked.queue)
    else:
        with audit.acting(call.services, "replay", _named(filters), by=call.actor, why=asked.why) as action:
            done = operations.replay(call.services, filters, force=asked.force, queue=asked.queue)
            action.acted_on(len(done.ids))
    return operations.replayed(call.services, done)


@post(
    "/dead-letters/<letter_id>/replay-changed", Replayed, permission=EDIT, also=VIEW_ARGS, body=ReplayChanged
)
def replay_changed(call: Call) -> Any:
    """Replay one dead letter with other arguments, which are checked against its task.

    Its job keeps its id, its callbacks, its chain, group and chord. `GET /jobs/{job_id}/arguments` shows the present
    arguments.
    """
    asked = call.body
    changes = changed_arguments(call, "/dead-letters/replay replays it as it was")
    found = operations.find(call.services, call.path["letter_id"]).letter.id
    named = audit.named("dead letter", [found])
    with audit.acting(call.services, "edit", named, by=call.actor, why=asked.why) as action:
        done = operations.replay_changed(
            call.services,
            found,
            args=changes["args"],
            kwargs=changes["kwargs"],
            queue=asked.queue,
            force=asked.force,
            unchanged=call.actor.may(REPLAY),
        )
        action.acted_on(len(done.ids))
    return operations.replayed(call.services, done)


@post("/dead-letters/discard", Discarded, permission=DISCARD, body=Discard)
def discard_dead_letters(call: Call) -> Any:
    """Put up to 100 dead letters away: their jobs do not run."""
    asked = call.body
    filters = operations.named(call.services, asked.ids)
    if asked.dry_run:
        done = operations.discard(call.services, filters, dry_run=True)
    else:
        with audit.acting(call.services, "discard", _named(filters), by=call.actor, why=asked.why) as action:
            done = operations.discard(call.services, filters)
            action.acted_on(len(done.ids))
    return done.as_dict()


def _shown(call: Call, archived: operations.ArchivedLetter) -> dict[str, Any]:
    shown = archived.as_dict(call.services.texts(archived.letter.task))
    return call.hide(shown, "args", "kwargs", "new_args", "new_kwargs")


def _named(filters: operations.Filters) -> str:
    return audit.named("dead letter", filters.ids or ())
