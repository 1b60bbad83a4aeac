"""The audit: who changed what, why, on how many, and how it ended."""

from __future__ import annotations

from datetime import datetime

from ....observe import audit as read
from ....text.moments import moment
from ..call import Call, Refused, View, show
from ..routing import page

ROWS = 50


@page("/audit", title="Audit", nav="Audit")
def audit(call: Call) -> View:
    """Actions, the latest first."""
    since = call.text("since")
    filters = read.Filters(
        by=call.text("by") or None,
        action=call.text("action") or None,
        since=_moment(call, since) if since else None,
    )
    after = call.text("after") or None
    found = read.page(call.services, filters, limit=ROWS, after=after)
    return show(
        "audit.html",
        page=found,
        filters=filters,
        since=since,
        bulk=read.bulk_actions(call.services, [row.id for row in found.actions]),
        actors=[(name, name) for name in read.actors(call.services)],
        verbs=[(name, name) for name in read.verbs(call.services)],
        older=call.here(after=found.after) if found.after else None,
        newest=call.here(after=None) if after else None,
    )


def _moment(call: Call, text: str) -> datetime:
    try:
        return moment(text, call.now)
    except ValueError as exc:
        raise Refused(400, "Not a time", f"{exc}."[:300]) from None
