"""Which rules decide. Each rule looks at one possible cause, in the order of a job's life.

The first that applies is the answer; those that apply besides it follow as ``also``, so that a paused queue does not
hide that no worker runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...domain.job import JobState
from ...domain.relatives import ENDED
from .queued import RULES, in_line
from .running import lost
from .unpublished import not_enqueued
from .values import Facts, Reason, Waiting


def why(facts: Facts) -> Waiting | None:
    """Why the job waits; None if it runs or has ended."""
    job = facts.job
    if job.state in ENDED:
        return None
    if not facts.enqueued and facts.outbox is None:
        return _of(not_enqueued(facts))
    if job.state is JobState.RUNNING:
        return _of(lost(facts))
    found = [reason for rule in RULES if (reason := rule(facts)) is not None]
    return _of(found or filter(None, [in_line(facts)]))


def _of(reasons: Iterable[Reason]) -> Waiting | None:
    found = list(reasons)
    return Waiting(found[0], tuple(found[1:])) if found else None


__all__ = ["why"]
