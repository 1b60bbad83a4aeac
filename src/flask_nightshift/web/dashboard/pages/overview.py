"""The first page: is it well?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ....domain.job import utcnow
from ....errors import DatabaseUnavailable
from ....observe import front, incidents
from ....observe.incidents import Incident, Wanted
from ....observe.queues import QueueRow
from ....observe.trends import Period
from ....services import Services
from .. import trend_charts, words
from ..call import Call, Refused, View, show
from ..routing import ROUTES, page

DYING = 5
"""Incidents that the overview shows."""
NOW = timedelta(hours=1)
"""How far back something is dying now."""
PERIODS = {Period.HOUR: "Hour", Period.DAY: "Day", Period.MONTH: "30 days"}


@page("/", title="Overview", nav="Overview")
def overview(call: Call) -> View:
    """The verdict, charts, queues, workers, and what is dying now."""
    period = _period(call.text("period"))
    seen = front.front(call.services, period)
    workers = seen.workers or []
    ready = [row.ready for row in seen.queues if row.ready is not None]
    waiting = sum(ready) if ready else None
    troubles = [
        (each, call.url(each.about) if each.about in ROUTES else "") for each in seen.verdict.troubles
    ]
    return show(
        "overview.html",
        seen=seen,
        troubles=troubles,
        worst=next((url for each, url in troubles[:1] if each.about != call.endpoint), ""),
        charts=trend_charts.all_of(seen.trend) if seen.trend else (),
        tabs=[(text, call.here(period=None if each is Period.HOUR else each.value), each is period)
              for each, text in PERIODS.items()],
        waiting=waiting,
        oldest=_oldest(waiting, seen.queues),
        busy=sum(len(row.busy) for row in workers if row.healthy),
        places=sum(row.concurrency for row in workers if row.healthy),
        healthy=sum(row.healthy for row in workers),
        total=len(workers),
        ended=sum((seen.counts or {}).values()) / front.MINUTES,
        died=(seen.counts or {}).get("dead", 0),
        dying=_dying(call.services),
    )  # fmt: skip


def _oldest(waiting: int | None, queues: Sequence[QueueRow]) -> str:
    """How long the oldest job has waited, in words."""
    if waiting is None:
        return "the broker does not answer"
    ages = [row.oldest for row in queues if row.ready]
    known = [age for age in ages if age is not None]
    if known and max(known) >= 1:
        return f"oldest {words.duration(max(known))}"
    return "nothing is late" if len(known) == len(ages) else "their age is not known"


def _period(given: str) -> Period:
    try:
        return Period(given or "hour")
    except ValueError:
        raise Refused(400, "There is no such period", f"{given[:40]!r}: use hour, day or month.") from None


def _dying(services: Services) -> list[Incident] | None:
    """The causes of which most died within the last hour; None if the database does not answer."""
    try:
        found = incidents.incidents(services, Wanted(since=utcnow() - NOW, by_count=True), limit=DYING)
    except DatabaseUnavailable:
        return None
    return list(found.found)
