"""Commands on what waits in queues: ``purge`` and ``delayed``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, with_appcontext

from . import ids
from .base import MOST, ago, cells, confirm, console, echo_json, one_line, plural, say, services, table

if TYPE_CHECKING:
    from ..brokers.base import DelayedJob, DelayedJobs
    from ..services import Services

_QUEUE = click.option("--queue", help="Look in this queue only.")

delayed = AppGroup("delayed", help="Jobs that wait for their time (Redis and Valkey).")


@click.command()
@click.argument("queues", nargs=-1, metavar="QUEUE...")
@click.option("--all", "everything", is_flag=True, help="All queues that the configuration or a task names.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def purge(queues: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Delete the jobs that wait in queues. They are gone for good: not run, not kept as dead letters."""
    current = services()
    if bool(queues) == everything:
        raise click.UsageError("Name the queues, or say --all.")
    names = current.queues() if everything else tuple(dict.fromkeys(queues))
    waiting = sum(depth.ready + (depth.delayed or 0) for depth in current.broker.depths(names))
    confirm(f"Delete {plural(waiting, 'job')} of {', '.join(names)} for good?", yes)
    for name in names:
        say(f"{name}: {plural(current.broker.purge(name), 'job')} deleted")


@delayed.command("list")
@_QUEUE
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="At most so many, soonest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_appcontext
def list_(queue: str | None, limit: int, as_json: bool) -> None:
    """List them, the soonest first."""
    current = services()
    hold, names = _hold(current), _names(current, queue)
    found = sorted((job for name in names for job in hold.soonest(name, limit)), key=_due)[:limit]
    if as_json:
        echo_json([_shape(job) for job in found])
    elif not found:
        say("No delayed jobs.")
    else:
        console().print(_table(found))


@delayed.command()
@click.argument("wanted", nargs=-1, required=True, metavar="ID...")
@_QUEUE
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def cancel(wanted: tuple[str, ...], queue: str | None, yes: bool) -> None:
    """Take jobs out before they start; they are kept as dead letters (reason: revoked).

    An ID may be shortened to its start or its end.
    """
    current = services()
    hold, names = _hold(current), _names(current, queue)
    chosen = [ids.delayed_id(hold, names, given) for given in wanted]
    confirm(f"Cancel {plural(len(chosen), 'delayed job')}?", yes)
    missed = []
    for job_id in chosen:
        taken = next((job for name in names if (job := hold.take(name, job_id))), None)
        if taken is None:
            missed.append(job_id)
        else:
            _bury(current, taken)
            say(f"{job_id} cancelled")
    _report(missed)


@delayed.command("run-now")
@click.argument("wanted", nargs=-1, required=True, metavar="ID...")
@_QUEUE
@with_appcontext
def run_now(wanted: tuple[str, ...], queue: str | None) -> None:
    """Put jobs at the head of their queues now. An ID may be shortened to its start or its end."""
    current = services()
    hold, names = _hold(current), _names(current, queue)
    chosen = [ids.delayed_id(hold, names, given) for given in wanted]
    missed = []
    for job_id in chosen:
        if any(hold.run_now(name, job_id) for name in names):
            say(f"{job_id} is next in its queue")
        else:
            missed.append(job_id)
    _report(missed)


@delayed.command("hand-over")
@_QUEUE
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def hand_over(queue: str | None, yes: bool) -> None:
    """On the way back to plain Celery: leave delayed jobs, with their times, to its workers.

    Stop the workers of the lease transport first; they would take the jobs back.
    """
    current = services()
    hold, names = _hold(current), _names(current, queue)
    confirm(f"Hand the delayed jobs of {', '.join(names)} over to workers without leases?", yes)
    for name in names:
        say(f"{name}: {plural(hold.hand_over(name), 'job')} handed over")


def _hold(current: Services) -> DelayedJobs:
    hold = current.broker.delayed_jobs()
    if hold is None:
        raise click.ClickException(
            f"{current.broker.url} keeps delayed jobs where they cannot be seen one by one: that works on Redis "
            "and Valkey with NIGHTSHIFT_REDIS_TRANSPORT=lease. `flask jobs stats` counts them where it can."
        )
    return hold


def _names(current: Services, queue: str | None) -> Sequence[str]:
    return (queue,) if queue else current.queues()


def _bury(current: Services, job: DelayedJob) -> None:
    """Keep a record: it was taken out already, so a broker that goes away here loses that and no job."""
    from ..domain.job import Failure, Reason, utcnow
    from ..errors import BrokerUnavailable
    from ..message.burial import DEAD_QUEUE, buried
    from ..message.envelope import Envelope

    sent = job.envelope
    failure = Failure("Cancelled", "cancelled with `flask jobs delayed cancel`")
    headers = buried(
        sent.headers,
        reason=Reason.REVOKED,
        failure=failure,
        queue=job.queue,
        worker="flask jobs",
        at=utcnow(),
    )
    letter = Envelope(sent.body, headers, sent.properties, sent.content_type, sent.content_encoding)
    try:
        current.broker.publish(letter, DEAD_QUEUE)
    except BrokerUnavailable as exc:
        text = f"{job.job_id} is cancelled, but could not be kept as a dead letter: {one_line(exc)}"
        raise click.ClickException(text) from exc


def _report(missed: Sequence[str]) -> None:
    for job_id in missed:
        say(f"{job_id} is not delayed (any more)", err=True)
    if missed:
        raise SystemExit(1)


def _due(job: DelayedJob) -> datetime:
    return job.due or datetime.max.replace(tzinfo=UTC)


def _shape(job: DelayedJob) -> dict[str, Any]:
    due = job.due.isoformat() if job.due else None
    return {"job_id": job.job_id, "task": job.task, "queue": job.queue, "due": due}


def _table(found: Sequence[DelayedJob]) -> Any:
    now = datetime.now(UTC)
    shown = table("job", "due in", ("task", {"ratio": 2}), ("queue", {"ratio": 1}))
    for job in found:
        left = ago(max(0.0, (job.due - now).total_seconds())) if job.due else None
        shown.add_row(*cells([job.job_id, left, job.task, job.queue]))
    return shown
