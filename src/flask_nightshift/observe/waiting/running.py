"""A job that runs as far as the history knows: it waits only if its worker is gone."""

from __future__ import annotations

from collections.abc import Iterator

from ...brokers.values import Where
from ...text.counts import plural
from . import line, queued
from .values import Cause, Facts, Reason


def lost(facts: Facts) -> Iterator[Reason]:
    """A job whose worker is gone waits until the broker gives it to another one."""
    name = facts.job.worker
    row = next((each for each in facts.workers if each.name == name), None)
    if not name or (row is not None and row.healthy) or facts.runner is not None:
        return
    gone = f"Its worker {name} is gone ({row.problem})" if row else f"Its worker {name} is gone"
    place = facts.place
    if facts.broker_error is not None:
        yield Reason(Cause.LOST_WORKER, f"{gone}, and the broker does not answer: {facts.broker_error}")
    elif place is not None and place.quarantined:
        waits = plural(place.quarantined, "job", "wait")
        yield Reason(
            Cause.QUARANTINE,
            f"{gone}; a job that may have killed its worker waits in quarantine, where each worker runs one at a time: "
            f"{waits} there.",
        )
    elif place is not None and place.where is Where.READY:
        yield Reason(Cause.QUARANTINE, f"{gone}; it is back in its queue. {line.unproven(facts)}")
    else:
        yield Reason(Cause.LOST_WORKER, f"{gone}: the broker gives the job to another worker.")
    yield from (reason for rule in _ALSO if (reason := rule(facts)) is not None)


_ALSO = (queued.paused, queued.no_worker, queued.unknown_task)

__all__ = ["lost"]
