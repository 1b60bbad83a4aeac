"""Commands on the jobs that wait in queues: ``purge`` and ``delayed``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, with_appcontext

from ..text.counts import plural
from .base import (
    MOST,
    Rate,
    ago,
    audited,
    cells,
    confirm,
    console,
    echo_json,
    json_option,
    say,
    services,
    table,
    why_option,
    yes_option,
)
from .bulk import bulk_option
from .bulk import start as start_bulk

if TYPE_CHECKING:
    from ..operations.delayed import DelayedJob

_QUEUE = click.option("--queue", help="Look in this queue only.")

delayed = AppGroup("delayed", help="Jobs that wait for their time (Redis and Valkey).")


@click.command()
@click.argument("queues", nargs=-1, metavar="QUEUE...")
@click.option("--all", "everything", is_flag=True, help="All queues that the configuration or a task names.")
@why_option
@yes_option
@json_option
@with_appcontext
def purge(queues: tuple[str, ...], everything: bool, why: str | None, yes: bool, as_json: bool) -> None:
    """Delete the jobs that wait in queues. They are gone for good: not run, not kept as dead letters."""
    from ..operations import queues as operations
    from ..operations.audit import named

    current = services()
    if bool(queues) == everything:
        raise click.UsageError("Name the queues, or say --all.")
    names = current.queues() if everything else tuple(dict.fromkeys(queues))
    waiting = operations.waiting(current, names)
    confirm(f"Delete {plural(waiting, 'job')} of {', '.join(names)} for good?", yes)
    done: list[dict[str, str | int]] = []
    with _shown(done, as_json):
        for name in names:
            with audited("purge", named("queue", [name]), why) as told:
                count = operations.purge(current, name)
                told.acted_on(count)
            done.append({"queue": name, "deleted": count})
            if not as_json:
                say(f"{name}: {plural(count, 'job')} deleted")


@delayed.command("list")
@_QUEUE
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="At most this many, soonest first.",
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
@why_option
@yes_option
@json_option
@with_appcontext
def cancel(wanted: tuple[str, ...], queue: str | None, why: str | None, yes: bool, as_json: bool) -> None:
    """Take jobs out before they start; they are recorded as cancelled.

    An ID may be shortened to its start or its end. `flask jobs cancel` finds a job in any place.
    """
    from ..operations import delayed as operations
    from ..operations.audit import named

    current = services()
    chosen = operations.find(current, queue, wanted)
    confirm(f"Cancel {plural(len(chosen), 'delayed job')}?", yes)
    with audited("cancel", named("job", chosen), why) as told:
        done = operations.cancel(current, queue, chosen, by="flask jobs delayed cancel")
        told.acted_on(len(done))
    _report(chosen, done, "cancelled", as_json)


@delayed.command("run-now")
@click.argument("wanted", nargs=-1, metavar="ID...")
@_QUEUE
@click.option("--task", help="With --bulk: jobs of this task.")
@click.option("--all", "everything", is_flag=True, help="With --bulk: all delayed jobs.")
@bulk_option
@click.option("--rate", type=Rate(), help="With --bulk: at most this many per second: 10/s, 30/m.")
@click.option("--dry-run", is_flag=True, help="With --bulk: only say how many.")
@why_option
@yes_option
@json_option
@with_appcontext
def run_now(
    wanted: tuple[str, ...],
    queue: str | None,
    task: str | None,
    everything: bool,
    as_bulk: bool,
    rate: float | None,
    dry_run: bool,
    why: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Put jobs at the head of their queues now. Name IDs, or with --bulk a filter.

    An ID may be shortened to its start or its end.
    """
    from ..observe.jobs import Filters
    from ..operations import delayed as operations
    from ..operations.audit import named
    from ..text.patterns import exactly

    current = services()
    if as_bulk:
        if wanted or everything == bool(task or queue):
            raise click.UsageError("--bulk takes --task, --queue, or --all, and no IDs.")
        filters = Filters(task=task and exactly(task), queue=queue and exactly(queue))
        start_bulk(current, "run", filters, {}, rate=rate, why=why, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    if not wanted or task or everything or rate or dry_run:
        raise click.UsageError("Name the jobs by their IDs, or say --bulk with --task, --queue, or --all.")
    chosen = operations.find(current, queue, wanted)
    with audited("run", named("job", chosen), why) as told:
        done = operations.run_now(current, queue, chosen)
        told.acted_on(len(done))
    _report(chosen, done, "is next in its queue", as_json)


@delayed.command("hand-over")
@_QUEUE
@why_option
@yes_option
@json_option
@with_appcontext
def hand_over(queue: str | None, why: str | None, yes: bool, as_json: bool) -> None:
    """On the way back to plain Celery: leave delayed jobs, with their times, to its workers.

    Stop the workers of the lease transport first; they would take the jobs back.
    """
    from ..operations import delayed as operations
    from ..operations.audit import named

    current = services()
    names = operations.queues(current, queue)
    confirm(f"Hand the delayed jobs of {', '.join(names)} over to workers without leases?", yes)
    done: list[dict[str, str | int]] = []
    with _shown(done, as_json):
        for name in names:
            with audited("hand over", named("queue", [name]), why) as told:
                count = operations.hand_over(current, name)
                told.acted_on(count)
            done.append({"queue": name, "handed_over": count})
            if not as_json:
                say(f"{name}: {plural(count, 'job')} handed over")


@contextlib.contextmanager
def _shown(done: list[dict[str, str | int]], as_json: bool) -> Iterator[None]:
    """Print what is ``done`` as JSON when the block ends, also if it ends with an error."""
    try:
        yield
    finally:
        if as_json:
            echo_json(done)


def _report(chosen: Sequence[str], done: Mapping[str, str], what: str, as_json: bool) -> None:
    """Say of each job whether it was delayed; exit with 1 if one was not."""
    each = list(dict.fromkeys(chosen))
    if as_json:
        echo_json([{"job_id": job_id, "queue": done.get(job_id)} for job_id in each])
    for job_id in each:
        if job_id not in done:
            say(f"{job_id} is not delayed (any more)", err=True)
        elif not as_json:
            say(f"{job_id} {what}")
    if len(done) < len(each):
        raise SystemExit(1)


def _table(found: Sequence[DelayedJob]) -> Any:
    now = datetime.now(UTC)
    shown = table("job", "due in", ("task", {"ratio": 2}), ("queue", {"ratio": 1}))
    for job in found:
        left = ago(max(0.0, (job.due - now).total_seconds())) if job.due else None
        shown.add_row(*cells([job.job_id, left, job.task, job.queue]))
    return shown
