"""Doing a step again whose worker died, or lost the broker, before it could note what it had done.

The step names its jobs, so each is counted once: those on which it had acted already, and those that are left. A job
that left the delayed ones by itself at that moment counts as run, because nothing tells it from one that was moved.
"""

from __future__ import annotations

from ... import journal
from ...domain.job import FINISHED, JobState
from ...journal import Target
from ...observe.jobs import Filters
from ...store.bulk_actions import Progress, Step
from ..delayed import run_known
from ..dropping import drop
from . import delayed, recorded, unpublished
from .portion import Portion
from .unended import Unended


def carry_out(portion: Portion, step: Step, filters: Filters, wanted: Unended) -> None:
    """Do what is left of ``step``, and count all of it; this is the whole portion."""
    if portion.action.action == "run":
        done = _run(portion, step, filters, wanted)
    elif step.reached is None:
        done = _withdraw(portion, step)
    else:
        done = _cancel(portion, step)
    rest = done / portion.action.rate
    portion.finish_alone(Progress(step.reached, done, step.skipped, ended=False, rest=rest))


def _run(portion: Portion, step: Step, filters: Filters, wanted: Unended) -> int:
    if delayed.fits(portion.services, filters):
        left = delayed.those(portion, filters, step.ids)
    else:
        left = recorded.those(portion, wanted, step.ids)
    run_known(portion.services, left)
    return len(step.ids)


def _cancel(portion: Portion, step: Step) -> int:
    targets = [each for each in _recorded(portion, step) if each.state not in FINISHED]
    if targets:
        kill = bool(portion.action.options.get("kill"))
        drop(portion.services, targets, kill=kill, by=portion.action.by)
    return len(step.ids)


def _withdraw(portion: Portion, step: Step) -> int:
    """Cancel the jobs of the step that still wait in an outbox; those that a relay has published are the history's."""
    action, known = portion.action, {each.job_id: each for each in _recorded(portion, step)}
    targets = [Target(job_id, "", "", JobState.QUEUED) for job_id in step.ids if job_id not in known]
    name = unpublished.claimant(action.id)
    if targets:
        drop(portion.services, targets, kill=False, by=action.by, claimed_by=name)
    published = [each for each in known.values() if each.state != JobState.CANCELLED]
    return len(step.ids) - len(published)


def _recorded(portion: Portion, step: Step) -> list[Target]:
    return journal.targets(portion.services.store, step.ids)


__all__ = ["carry_out"]
