"""Bulk actions: the dry run that asks, their list, and the page of one that goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ....domain.actor import CANCEL as MAY_CANCEL
from ....domain.actor import VIEW_ARGS
from ....errors import ConfigurationError
from ....observe import query
from ....observe.jobs import Filters as JobFilters
from ....operations import bulk
from ....operations.dead_letters import Filters as LetterFilters
from ....text.moments import moment
from ..call import Call, Done, Refused, View, show
from ..routing import Question, action, page

ROWS = 50
FORCE = "force"
"""The word that confirms a replay of discarded letters, too."""
_LETTERS = ("task", "reason", "fingerprint")
_TITLES = {
    bulk.REPLAY: "Replay dead letters",
    bulk.DISCARD: "Discard dead letters",
    bulk.CANCEL: "Cancel jobs",
    bulk.RUN: "Run delayed jobs now",
}
_MEANS = {
    bulk.REPLAY: "Their jobs run again, with the same ids and fresh attempts.",
    bulk.DISCARD: "Their jobs do not run. The dead letters stay in the table until they are pruned.",
    bulk.CANCEL: "They do not run. Those that run now stop at their next jobs.current.check_cancelled().",
    bulk.RUN: "They go to the heads of their queues, and run as soon as a worker is free.",
}

_OPTIONS: dict[str, Callable[[Any], tuple[str, str]]] = {
    "queue": lambda value: ("Sent to the queue", f"{value}"),
    "force": lambda _: ("Also", "discarded ones, and messages that are no jobs"),
    "kill": lambda _: ("Jobs that run", "are killed"),
}
"""What the page says of an action's options."""


@page("/bulk", title="Bulk actions", nav="Bulk actions")
def bulk_actions(call: Call) -> View:
    """All bulk actions, the latest first."""
    after = call.text("after") or None
    page = bulk.page(call.services, limit=ROWS, after=after)
    found = page.actions
    return show(
        "bulk_actions.html",
        older=call.here(after=page.after) if page.after else None,
        newest=call.here(after=None) if after else None,
        actions=[(each, bulk.about(each, texts=call.may(VIEW_ARGS))) for each in found],
    )


@page("/bulk/plan", title="Bulk action")
def bulk_plan(call: Call) -> View:
    """The dry run: how many there are; it asks for the rate and the reason."""
    verb = call.text("do")
    if verb not in bulk.ACTIONS:
        raise Refused(
            400, "Not a bulk action", f"A bulk action is one of {', '.join(bulk.ACTIONS)}, not {verb[:40]!r}."
        )
    _check(call, verb)
    filters, fields = _filters(call, verb)
    forced = {"force": FORCE} if verb == bulk.REPLAY and call.text("force") == FORCE else {}
    planned = bulk.plan(call.services, verb, filters, {"force": bool(forced)})
    last = (
        f"{planned.last.at.isoformat() if planned.last.at else ''},{planned.last.id}" if planned.last else ""
    )
    back = call.url("jobs", q=fields.get("q")) if verb in (bulk.CANCEL, bulk.RUN) else _letters(call)
    return show(
        "bulk_plan.html",
        title=_TITLES[verb],
        planned=planned,
        about=bulk.about_filters(verb, filters),
        means=_MEANS[verb],
        verb=verb,
        fields={**fields, **forced, "last": last, "total": planned.total},
        forced=FORCE if forced else "",
        force=call.url("bulk_plan", do=verb, **fields, force=FORCE) if verb == bulk.REPLAY else "",
        unforced=call.url("bulk_plan", do=verb, **fields),
        rate=f"{bulk.ACTIONS[verb].rate:g}",
        queues=call.services.queues() if verb == bulk.REPLAY else (),
        back=back,
        section="bulk_actions",
    )


@page("/bulk/action", title="Bulk action")
def bulk_action(call: Call) -> View:
    """How far a bulk action is."""
    found = bulk.find(call.services, call.text("action_id"))
    return show(
        "bulk_action.html",
        action=found,
        about=bulk.about(found, texts=call.may(VIEW_ARGS)),
        options=[_OPTIONS[name](value) for name, value in found.options.items() if name in _OPTIONS],
        left=_left(call, found),
        may_cancel=not found.ended and _may_cancel(call, found),
        section="bulk_actions",
    )


@action(
    "/bulk/cancel",
    permission="view",
    verb="cancel",
    about=lambda call: f"bulk action {_to_cancel(call).id}",
    asks=lambda call: Question(
        "Cancel the rest of the bulk action? What is done stays done.",
        "Cancel the rest",
        call.url("bulk_action", action_id=_to_cancel(call).id),
    ),
)
def cancel_bulk_action(call: Call) -> Done:
    """End a bulk action; who may do what it does may end it, too."""
    ended = bulk.cancel(call.services, _to_cancel(call).id)
    to = call.url("bulk_action", action_id=ended.id)
    return Done(said=f"Cancelled after {ended.acted} of {ended.total}.", to=to)


def _to_cancel(call: Call) -> bulk.BulkAction:
    found = bulk.find(call.services, call.text("action_id"))
    if not _may_cancel(call, found):
        raise Refused(
            403, "Not allowed", f"To end it you need the permission {found.action} or {MAY_CANCEL}."
        )
    return found


def _starts(verb: str) -> Callable[[Call], Done]:
    @action(f"/bulk/start/{verb}", permission=verb, name=f"start_{verb}", recorded=True)
    def start(call: Call) -> Done:
        """Leave the bulk action to the workers."""
        filters, _ = _filters(call, verb)
        if verb == bulk.REPLAY and call.text("force"):
            call.confirmed(FORCE)
        total, last = call.number("total", 0, 10**12), _position(call.text("last"))
        planned = bulk.Plan(verb, filters, total, last, _options(call, verb))
        begun = bulk.start(call.services, planned, by=call.actor, why=call.reason, rate=_rate(call))
        to = call.url("bulk_action", action_id=begun.id)
        return Done(said=f"Workers {verb} {planned.counted}, at most {begun.rate:g} per second.", to=to)

    return start


for _verb in bulk.ACTIONS:
    _starts(_verb)


def _check(call: Call, verb: str) -> None:
    if not call.may(verb):
        raise Refused(403, "Not allowed", f"You need the permission {verb} for that.")


def _may_cancel(call: Call, found: bulk.BulkAction) -> bool:
    return call.may(MAY_CANCEL) or (found.action in bulk.ACTIONS and call.may(found.action))


def _filters(call: Call, verb: str) -> tuple[LetterFilters | JobFilters, dict[str, str]]:
    """The filters that the address or the form names, and the fields that name them again."""
    if verb in (bulk.CANCEL, bulk.RUN):
        wanted = query.parse(call.text("q"), call.now)
        everything = _everything(wanted, JobFilters(), call)
        if wanted.texts and not call.may(VIEW_ARGS):
            said = f"A search for a text looks into arguments, too. You need the permission {VIEW_ARGS} for that."
            raise Refused(403, "Not allowed", said)
        return wanted, {"q": query.text_of(wanted), **everything}
    given: dict[str, Any] = {name: call.text(name) for name in _LETTERS if call.text(name)}
    since = call.text("since")
    try:
        at = moment(since, call.now) if since else None
    except ValueError as exc:
        raise Refused(400, "Not a time", f"{exc}."[:300]) from None
    found = LetterFilters(since=at, **given)
    everything = _everything(found, LetterFilters(), call)
    return found, {**given, **({"since": at.isoformat()} if at else {}), **everything}


def _everything(found: object, unbounded: object, call: Call) -> dict[str, str]:
    """The field by which a form says that it means all there is; refuses one that lost its conditions."""
    if found != unbounded:
        return {}
    if call.request.method == "POST" and call.text("everything") != "yes":
        raise Refused(400, "Which ones?", "The form names no condition. Plan the action again.")
    return {"everything": "yes"}


def _options(call: Call, verb: str) -> dict[str, Any]:
    """How to do it: what the form of ``bulk_plan.html`` asks for."""
    if verb == bulk.REPLAY:
        options: dict[str, Any] = {"queue": queue} if (queue := call.text("queue")) else {}
        return options | ({"force": True} if call.text("force") else {})
    return {"kill": True} if verb == bulk.CANCEL and call.text("kill") else {}


def _position(text: str) -> bulk.Position | None:
    return bulk.position(text) if text else None


def _rate(call: Call) -> float | None:
    given = call.text("rate")
    try:
        return float(given) if given else None
    except ValueError:
        raise ConfigurationError(
            "rate", given[:40], "write a number of jobs per second, such as 20"
        ) from None


def _letters(call: Call) -> str:
    try:
        return call.url("letters")
    except LookupError:
        return call.url("bulk_actions")


def _left(call: Call, found: bulk.BulkAction) -> float | None:
    """The seconds that the rest takes at its pace so far; None if that is not known."""
    if found.ended or found.started_at is None or not found.acted + found.skipped:
        return None
    took = (call.now - found.started_at).total_seconds()
    done = found.acted + found.skipped
    return max(0.0, took / done * (found.total - done))
