"""Dead letters by their causes, the letters of one cause, and replaying or discarding some of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ....domain.job import Reason
from ....observe import incidents as read
from ....observe.incidents import DAY, HOUR, Wanted
from ....operations import audit, dead_letters
from ....operations.dead_letters import ArchivedLetter, Filters, Result
from ....text.counts import plural
from ....text.moments import iso_time
from ..call import Call, Done, Refused, View, show
from ..routing import Question, action, page

ROWS = 50
"""Incidents, or letters, on one page; also the number of letters that one form acts on."""
MOST_INCIDENTS = 200
SINCE = {"1h": 1, "6h": 6, "24h": 24, "7d": 168, "30d": 720}
"""Hours of the choices for the last death."""
STATUSES = ("waiting", "replayed", "discarded", "any")
VERBS = {"replay": "Replay", "discard": "Discard"}
_MOST_SHOWN = 300


@page("/letters", title="Dead letters", nav="Dead letters")
def letters(call: Call) -> View:
    """The incidents: how many letters wait, since when, and whether it goes on."""
    everything, step = call.text("show") == "all", DAY if call.text("trend") == "days" else HOUR
    filters = _conditions(call)
    since = call.now - timedelta(hours=SINCE[filters["since"]]) if "since" in filters else None
    wanted = Wanted(
        not everything,
        filters.get("task"),
        filters.get("reason"),
        since,
        by_count=call.text("sort") == "count",
    )
    after = call.text("after") or None
    found = read.incidents(call.services, wanted, MOST_INCIDENTS, step, after)
    return show(
        "letters.html",
        found=found,
        more=call.here(after=found.after) if found.after else None,
        first=call.here(after=None) if after else None,
        filters=filters,
        filtered=bool(filters),
        everything=everything,
        days=step == DAY,
        reasons=[("", "Any"), *((str(each), str(each).replace("_", " ")) for each in Reason)],
        spans=[("", "Any time"), *((name, f"The last {name}") for name in SINCE)],
        shows=[
            ("Open", call.here(show=None, after=None), not everything),
            ("All", call.here(show="all", after=None), everything),
        ],
        trends=[
            ("24 hours", call.here(trend=None), step == HOUR),
            ("14 days", call.here(trend="days"), step == DAY),
        ],
        sorts=[
            ("Latest", call.here(sort=None, after=None), not wanted.by_count),
            ("Largest", call.here(sort="count", after=None), wanted.by_count),
        ],
        bulk={"task": wanted.task, "reason": wanted.reason, "since": since.isoformat() if since else None},
        unarchived=dead_letters.unarchived(call.services, max_age=1.0),
    )


@page("/letters/incident", title="Incident")
def incident(call: Call) -> View:
    """One cause: its letters, its trend, and the traceback of the latest."""
    step = DAY if call.text("trend") == "days" else HOUR
    one = read.incident(call.services, call.text("fingerprint"), step)
    status = call.text("status") or ("waiting" if one.waiting else "any")
    if status not in STATUSES:
        raise Refused(400, "No such status", f"{status[:40]!r}: use one of {', '.join(STATUSES)}.")
    filters = Filters(status=None if status == "any" else status, fingerprint=one.fingerprint)
    found = dead_letters.latest(call.services, filters, ROWS + 1, _after(call.text("after")))
    older = _key(found[ROWS - 1]) if len(found) > ROWS else None
    example = dead_letters.find(call.services, one.example) if one.example else None
    counts = [(name, one.counts.get(name, one.total)) for name in STATUSES]
    return show(
        "incident.html",
        section="letters",
        incident=one,
        example=example,
        letters=[_row(call, each) for each in found[:ROWS]],
        chosen=status,
        days=step == DAY,
        tabs=[
            (f"{name.capitalize()} {count:,}", call.here(status=name, after=None), name == status)
            for name, count in counts
        ],
        older=call.here(after=older) if older else None,
        newest=call.here(after=None) if call.text("after") else None,
        trends=[
            ("24 hours", call.here(trend=None), step == HOUR),
            ("14 days", call.here(trend="days"), step == DAY),
        ],
    )


@page("/letters/check", title="Selected dead letters")
def check_letters(call: Call) -> View:
    """The dry run for the letters that were selected."""
    verb = call.text("do")
    if verb not in VERBS:
        raise Refused(400, "Replay or discard?", f"{verb[:40]!r}: use replay or discard.")
    if not call.may(verb):
        raise Refused(403, "Not allowed", f"You need the permission {verb} for that.")
    chosen = _chosen(call)
    act = dead_letters.replay if verb == "replay" else dead_letters.discard
    would = act(call.services, chosen, dry_run=True)
    return show(
        "letters_check.html",
        section="letters",
        verb=verb,
        word=VERBS[verb],
        would=would,
        counted=plural(len(would.ids), "dead letter"),
        back=_back(call),
        fingerprint=call.text("fingerprint"),
        queues=call.services.queues(),
    )


def _chosen(call: Call) -> Filters:
    ids = tuple(dict.fromkeys(each for each in call.texts("id") if each))
    if not ids:
        raise Refused(400, "Nothing is selected", "Go back and select some dead letters.")
    if len(ids) > ROWS:
        raise Refused(400, "Too many at once", f"Select at most {ROWS}, or act on the whole incident.")
    return Filters(ids=ids)


def _about(call: Call) -> str:
    return audit.named("dead letter", _chosen(call).ids or ())


@action(
    "/letters/replay",
    permission="replay",
    about=_about,
    asks=lambda call: _ask_to_replay(call, len(_chosen(call).ids or ())),
    at_once=True,
)
def replay_letters(call: Call) -> Done:
    """Replay the letters ``id``: their jobs run again, in ``queue`` or where they came from."""
    done = dead_letters.replay(call.services, _chosen(call), queue=call.text("queue") or None)
    return _told(call, "replayed", done)


@action(
    "/letters/discard",
    permission="discard",
    about=_about,
    asks=lambda call: _ask_to_discard(call, len(_chosen(call).ids or ())),
)
def discard_letters(call: Call) -> Done:
    """Put the letters ``id`` away: their jobs do not run."""
    return _told(call, "discarded", dead_letters.discard(call.services, _chosen(call)))


def _ask_to_replay(call: Call, count: int) -> Question:
    letters, what = plural(count, "dead letter"), "Its job runs" if count == 1 else "Their jobs run"
    said = f"Replay {letters}? {what} again, with fresh attempts."
    return Question(said, f"Replay {letters}", _back(call), "primary")


def _ask_to_discard(call: Call, count: int) -> Question:
    letters, what = plural(count, "dead letter"), "Its job" if count == 1 else "Their jobs"
    return Question(f"Discard {letters}? {what} will not run.", f"Discard {letters}", _back(call))


def _told(call: Call, done: str, result: Result) -> Done:
    said = f"{plural(len(result.ids), 'dead letter')} {done}."
    reasons = sorted(set(result.skipped.values()))
    if reasons:
        more = f" and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
        said += f" {len(result.skipped)} skipped: {'; '.join(reasons[:3])}{more}."
    for idle in dead_letters.idle_queues(call.services, result):
        said += f" No worker consumes {idle!r}: start one."
    return Done(said=said, to=_back(call), count=len(result.ids), good=not result.skipped)


def _back(call: Call) -> str:
    if letter_id := call.text("letter_id"):
        return call.url("letter", letter_id=letter_id)
    if fingerprint := call.text("fingerprint"):
        return call.url("incident", fingerprint=fingerprint)
    return call.url("letters")


def _conditions(call: Call) -> dict[str, str]:
    found = {name: call.text(name) for name in ("task", "reason", "since") if call.text(name)}
    if "reason" in found and found["reason"] not in set(Reason):
        raise Refused(400, "No such reason", f"{found['reason'][:40]!r}: use one of {', '.join(Reason)}.")
    if "since" in found and found["since"] not in SINCE:
        raise Refused(400, "No such time", f"{found['since'][:40]!r}: use one of {', '.join(SINCE)}.")
    return found


def _row(call: Call, found: ArchivedLetter) -> dict[str, Any]:
    """What a list shows of a letter; arguments only for those who may see them."""
    arguments = ""
    if call.may("view_args"):
        args, kwargs = found.arguments(call.services.texts(found.letter.task))
        arguments = " ".join(each for each in (args, kwargs) if each not in ("", "[]", "{}"))[:_MOST_SHOWN]
    return {"found": found, "letter": found.letter, "arguments": arguments}


def _key(found: ArchivedLetter) -> str:
    return f"{found.letter.at.isoformat()},{found.letter.id}"


def _after(text: str) -> tuple[datetime, str] | None:
    if not text:
        return None
    said, _, letter_id = text.partition(",")
    at = iso_time(said)
    if at is None:
        raise Refused(400, "No such page", "The address is not one of a page of this list.")
    return at, letter_id
