"""A job that is not enqueued yet, because others have to end first."""

from __future__ import annotations

from collections.abc import Iterator

from ...domain.relatives import Parts
from ...text.counts import plural
from .values import Cause, Facts, Reason
from .words import named, state


def not_enqueued(facts: Facts) -> Iterator[Reason]:
    """The part of a chord or the step of a chain that it waits for."""
    if facts.parts is not None:
        yield Reason(Cause.CHORD, _chord(facts.parts))
    elif facts.after is not None and facts.after.job_id != facts.job.id:
        before = facts.after
        yield Reason(Cause.CHAIN, f"It follows {named(before)}, which {state(before)}.")


def _chord(parts: Parts) -> str:
    said = f"It is the body of a chord and waits for {parts.left} of {plural(parts.size, 'job')}"
    names = [f"{named(one)}, which {state(one)}" for one in parts.open]
    unseen = parts.size - sum(parts.counts.values())
    if rest := parts.left - len(parts.open) - len(parts.dead) - max(0, unseen):
        names += [f"{rest} more"] if rest > 0 else []
    if unseen > 0:
        names.append(f"{plural(unseen, 'job')} that {'is' if unseen == 1 else 'are'} not enqueued yet")
    if parts.dead:
        dead = ", ".join(named(one) for one in parts.dead)
        names.append(f"{dead}, which died, so the body does not run")
    return f"{said}{': ' if names else ''}{'; '.join(names)}."


__all__ = ["not_enqueued"]
