"""Commands on the jobs that wait in queues: ``purge`` and ``delayed``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, with_appcontext

from .base import (
    MOST,
    ago,
    cells,
    confirm,
    console,
    echo_json,
    json_option,
    plural,
    say,
    services,
    table,
    yes_option,
)

if TYPE_CHECKING:
    from ..operations.delayed import DelayedJob

_QUEUE = click.option("--queue", help="Look in this queue only.")

delayed = AppGroup("delayed", help="Jobs that wait for their time (Redis and Valkey).")


@click.command()
@click.argument("queues", nargs=-1, metavar="QUEUE...")
@click.option("--all", "everything", is_flag=True, help="All queues that the configuration or a task names.")
@yes_option
@with_appcontext
def purge(queues: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Delete the jobs that wait in queues. They are gone for good: not run, not kept as dead letters."""
    from ..operations import queues as operations

    current = services()
    if bool(queues) == everything:
        raise click.UsageError("Name the queues, or say --all.")
    names = current.queues() if everything else tuple(dict.fromkeys(queues))
    waiting = operations.waiting(current, names)
    confirm(f"Delete {plural(waiting, 'job')} of {', '.join(names)} for good?", yes)
    for name in names:
        say(f"{name}: {plural(operations.purge(current, name), 'job')} deleted")


@delayed.command("list")
@_QUEUE
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="At most so many, soonest first.",
)
@json_option
@with_appcontext
def list_(queue: str | None, limit: int, as_json: bool) -> None:
    """List them, the soonest first."""
    from ..operations import delayed as operations

    current = services()
    names = operations.queues(current, queue)
    found = operations.soonest(current, names, limit)
    if as_json:
        echo_json([job.as_dict() for job in found])
    elif not found:
        say("No delayed jobs.")
    else:
        console().print(_table(found))


@delayed.command()
@click.argument("wanted", nargs=-1, required=True, metavar="ID...")
@_QUEUE
@yes_option
@with_appcontext
def cancel(wanted: tuple[str, ...], queue: str | None, yes: bool) -> None:
    """Take jobs out before they start; they are kept as dead letters (reason: revoked).

    An ID may be shortened to its start or its end.
    """
    from ..operations import delayed as operations

    current = services()
    names = operations.queues(current, queue)
    chosen = operations.find(current, names, wanted)
    confirm(f"Cancel {plural(len(chosen), 'delayed job')}?", yes)
    missed = []
    for job_id in chosen:
        how = "cancelled with `flask jobs delayed cancel`"
        if operations.cancel(current, names, job_id, by="flask jobs", how=how):
            say(f"{job_id} cancelled")
        else:
            missed.append(job_id)
    _report(missed)


@delayed.command("run-now")
@click.argument("wanted", nargs=-1, required=True, metavar="ID...")
@_QUEUE
@with_appcontext
def run_now(wanted: tuple[str, ...], queue: str | None) -> None:
    """Put jobs at the head of their queues now. An ID may be shortened to its start or its end."""
    from ..operations import delayed as operations

    current = services()
    names = operations.queues(current, queue)
    chosen = operations.find(current, names, wanted)
    missed = []
    for job_id in chosen:
        if operations.run_now(current, names, job_id):
            say(f"{job_id} is next in its queue")
        else:
            missed.append(job_id)
    _report(missed)


@delayed.command("hand-over")
@_QUEUE
@yes_option
@with_appcontext
def hand_over(queue: str | None, yes: bool) -> None:
    """On the way back to plain Celery: leave delayed jobs, with their times, to its workers.

    Stop the workers of the lease transport first; they would take the jobs back.
    """
    from ..operations import delayed as operations

    current = services()
    names = operations.queues(current, queue)
    confirm(f"Hand the delayed jobs of {', '.join(names)} over to workers without leases?", yes)
    for name in names:
        say(f"{name}: {plural(operations.hand_over(current, name), 'job')} handed over")


def _report(missed: Sequence[str]) -> None:
    for job_id in missed:
        say(f"{job_id} is not delayed (any more)", err=True)
    if missed:
        raise SystemExit(1)


def _table(found: Sequence[DelayedJob]) -> Any:
    now = datetime.now(UTC)
    shown = table("job", "due in", ("task", {"ratio": 2}), ("queue", {"ratio": 1}))
    for job in found:
        left = ago(max(0.0, (job.due - now).total_seconds())) if job.due else None
        shown.add_row(*cells([job.job_id, left, job.task, job.queue]))
    return shown
