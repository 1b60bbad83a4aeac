"""Sentences about the jobs before one, and about workers that have no room."""

from __future__ import annotations

from datetime import timedelta

from ...brokers.values import Place, Where
from ...text.counts import plural
from ...text.spans import span
from .values import Facts, Pace


def load(facts: Facts) -> str:
    """A sentence about workers that have no room; empty if one has."""
    rows = facts.consumers
    running = [one for row in rows for one in row.busy]
    if not rows or any(len(row.busy) < max(1, row.concurrency) for row in rows):
        return ""
    who = "The only worker" if len(rows) == 1 else f"All {len(rows)} workers"
    longest = min(running, key=lambda one: float(one.get("started_at") or facts.now.timestamp()))
    said = f"{who} of {facts.job.queue!r} {'is' if len(rows) == 1 else 'are'} busy with {plural(len(running), 'job')}"
    since = longest.get("started_at")
    seconds = timedelta(seconds=max(0.0, facts.now.timestamp() - float(since))) if since else timedelta()
    return f"{said}, for the longest with {longest.get('task')} {longest.get('job_id')} ({span(seconds)})."


def before(place: Place, pace: Pace | None) -> str:
    """A sentence about the jobs before it, and how long they may take."""
    if place.before is None:
        return "Many jobs are before it."
    unseen = place.where is Where.UNKNOWN  # the job is among those that are counted
    ahead = place.before - unseen
    if ahead <= 0:
        return "It is the next one of its queue."
    said = (
        f"{'At most' if unseen else 'About'} {plural(ahead, 'job')} {'is' if ahead == 1 else 'are'} before it"
    )
    if pace is None or not pace.ended:
        return f"{said}; none of its queue ended in the last minutes."
    seconds = ahead * pace.seconds / pace.ended
    return f"{said}, about {span(timedelta(seconds=seconds))} as fast as its queue has moved of late."


def unproven(facts: Facts) -> str:
    """A sentence about a job that began before and whose worker died."""
    before = facts.place.before if facts.place else None
    some = "" if before is None else f"{plural(before, 'job', 'wait')} before it, and a"
    return f"{some or 'A'} job that may have killed its worker runs beside no other such job."


__all__ = ["before", "load", "unproven"]
