"""A job that is to be published, or is queued: the rules, each about one possible cause."""

from __future__ import annotations

from collections.abc import Callable

from ...brokers.values import Where
from ...domain.job import JobState, Outcome
from ...text.spans import span
from ..unheard import near
from . import line
from .values import SOON, Cause, Facts, Reason
from .words import clock


def in_outbox(facts: Facts) -> Reason | None:
    """It is not published yet."""
    if facts.outbox is None:
        return None
    for_long = f"for {span(facts.now - facts.outbox.since)}"
    if facts.broker_error is not None:
        return Reason(
            Cause.OUTBOX,
            f"It waits in the outbox {for_long}, because the broker does not answer: {facts.broker_error}",
        )
    if not facts.relays:
        return Reason(
            Cause.OUTBOX,
            f"It waits in the outbox {for_long} for a relay, and neither a worker nor Beat is alive to run one.",
        )
    if facts.outbox.claimed_by:
        return Reason(
            Cause.OUTBOX,
            f"It waits in the outbox {for_long}; the relay of {facts.outbox.claimed_by} publishes it.",
        )
    return Reason(
        Cause.OUTBOX,
        f"It waits in the outbox {for_long} for a relay, which publishes it within about 10 s.",
    )


def broker_away(facts: Facts) -> Reason | None:
    """No worker gets anything."""
    if facts.broker_error is None or facts.outbox is not None:
        return None
    return Reason(
        Cause.BROKER_AWAY, f"The broker does not answer, so no worker gets it: {facts.broker_error}"
    )


def replaced(facts: Facts) -> Reason | None:
    """Another unique job has taken its place."""
    if not facts.replaced_by:
        return None
    by = "Another job" if facts.replaced_by == "?" else f"The job {facts.replaced_by}"
    return Reason(
        Cause.REPLACED, f"{by} has replaced it as the unique job; a worker skips it when it meets it."
    )


def due(facts: Facts) -> Reason | None:
    """Its time has not come."""
    due = facts.job.due_at
    if due is None or facts.is_due:
        return None
    what = "Its retry is due" if facts.job.state is JobState.RETRYING else "It is due"
    return Reason(Cause.DUE, f"{what} at {clock(due)}, in {span(due - facts.now)}.")


def postponed(facts: Facts) -> Reason | None:
    """A worker could not run it, for example because it does not know its task, and gave it back for a while."""
    until = facts.place.due if facts.place is not None else None
    if until is None or until <= facts.now + SOON or not facts.is_due:
        return None
    said = f"A worker could not run it; it is tried again at {clock(until)}, in {span(until - facts.now)}."
    return Reason(Cause.POSTPONED, said)


def returned(facts: Facts) -> Reason | None:
    """The last attempt gave the job back, for example because another job holds its idempotency key."""
    last = facts.job.history[-1] if facts.job.history else None
    if last is None or last.outcome is not Outcome.RETURNED or not last.message or not last.ended_at:
        return None
    if facts.runner is not None:
        return None
    ago = span(facts.now - last.ended_at)
    return Reason(Cause.RETURNED, f"Its last attempt gave it back {ago} ago: {last.message}.")


def paused(facts: Facts) -> Reason | None:
    """An operator has paused its queue."""
    if facts.paused is None:
        return None
    return Reason(Cause.PAUSED, f"The queue {facts.job.queue!r} is {facts.paused}.")


def no_worker(facts: Facts) -> Reason | None:
    """Nobody takes jobs from its queue."""
    if facts.consumers:
        return None
    queue, alive = facts.job.queue, [row for row in facts.workers if row.healthy]
    if not alive:
        return Reason(Cause.NO_WORKER, f"No worker is alive, so none consumes its queue {queue!r}.")
    consumed = {name for row in alive for name in row.queues}
    hint = near(queue, consumed)
    return Reason(Cause.NO_WORKER, f"No live worker consumes its queue {queue!r}.{hint}")


def unknown_task(facts: Facts) -> Reason | None:
    """The workers of its queue run code without its task."""
    consumers, task = facts.consumers, facts.job.task
    told = [facts.known[row.name] for row in consumers if row.name in facts.known]
    if not consumers or len(told) < len(consumers) or not all(known.lacks(task) for known in told):
        return None
    hint = near(task, {name for known in told for name in known.names})
    return Reason(
        Cause.UNKNOWN_TASK, f"No live worker of the queue {facts.job.queue!r} knows its task {task!r}.{hint}"
    )


def history_behind(facts: Facts) -> Reason | None:
    """It runs, and its row does not say so yet."""
    if facts.runner is not None:
        said = f"The worker {facts.runner.name} runs it already; the history is behind."
        return Reason(Cause.HISTORY_BEHIND, said)
    if facts.place is not None and facts.place.where is Where.BEGUN:
        return Reason(Cause.HISTORY_BEHIND, "A worker has begun it already; the history is behind.")
    return None


def not_in_broker(facts: Facts) -> Reason | None:
    """Its row waits for a message that is not there."""
    if facts.place is None or facts.place.where is not Where.NOWHERE or facts.runner or facts.outbox:
        return None
    if not facts.is_due:
        return None
    return Reason(
        Cause.NOT_IN_BROKER,
        "The broker does not have it: it ended and the history is behind, or its message was deleted or lost.",
    )


def quarantine(facts: Facts) -> Reason | None:
    """It may have killed a worker (Redis; on RabbitMQ see ``running.py``)."""
    place = facts.place
    if place is None or not place.unproven or place.where is not Where.READY:
        return None
    return Reason(Cause.QUARANTINE, f"It came back from a worker that died. {line.unproven(facts)}")


def taken(facts: Facts) -> Reason | None:
    """It waits within a worker."""
    place = facts.place
    if place is None or facts.runner is not None or facts.outbox is not None or not facts.is_due:
        return None
    if place.where is Where.TAKEN:
        said = "A worker has taken it and begins it as soon as it has room."
        return Reason(Cause.TAKEN, f"{said} {line.load(facts)}".strip())
    if place.where is Where.UNKNOWN and place.before == 0 and facts.consumers and not unknown_task(facts):
        said = (
            "Its queue is empty: a worker has taken it, or could not run it and tries again within a minute, "
            "or the history is behind, or its message was deleted."
        )
        return Reason(Cause.TAKEN, f"{said} {line.load(facts)}".strip())
    return None


def in_line(facts: Facts) -> Reason | None:
    """Nothing keeps it but the jobs before it."""
    place = facts.place
    if place is None or place.where not in (Where.READY, Where.UNKNOWN, Where.DELAYED) or place.unproven:
        return None
    if not facts.consumers or not facts.is_due or facts.runner is not None or facts.outbox is not None:
        return None
    load, before = line.load(facts), line.before(place, facts.pace)
    if load:
        return Reason(Cause.BUSY, f"{load} {before}")
    return Reason(Cause.QUEUE, before)


RULES: tuple[Callable[[Facts], Reason | None], ...] = (
    in_outbox,
    broker_away,
    history_behind,
    replaced,
    due,
    returned,
    paused,
    no_worker,
    unknown_task,
    postponed,
    quarantine,
    taken,
    not_in_broker,
)
"""In this order; where none applies, ``in_line`` tells what is before the job."""

__all__ = ["RULES", "in_line", "no_worker", "paused", "unknown_task"]
