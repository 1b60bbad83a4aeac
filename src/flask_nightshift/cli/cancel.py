"""``flask jobs cancel``: cancel a job wherever it is, or all jobs of a filter."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from ..text.counts import plural
from .base import (
    Moment,
    Rate,
    audited,
    confirm,
    echo_json,
    json_option,
    say,
    services,
    why_option,
    yes_option,
)
from .bulk import bulk_option
from .bulk import start as start_bulk
from .running import INTERRUPTED, interruptible, progress_bar

if TYPE_CHECKING:
    from ..operations.cancelling import Cancellation, Cancellations, Target
    from ..services import Services

BY = "flask jobs cancel"
STATES = ("queued", "running", "retrying")


@click.command()
@click.argument("job", required=False, metavar="ID")
@click.option("--task", help="Jobs of this task.")
@click.option("--queue", help="Jobs of this queue.")
@click.option("--state", type=click.Choice(STATES), help="Jobs in this state.")
@click.option(
    "--older", type=Moment(), metavar="TIME", help="Jobs enqueued before: 2h, 30m, 7d, or an ISO time (UTC)."
)
@click.option("--kill", is_flag=True, help="If it runs, kill its child process (pool prefork).")
@bulk_option
@click.option("--rate", type=Rate(), help="With --bulk: at most this many per second: 10/s, 30/m.")
@click.option("--dry-run", is_flag=True, help="With a filter: only say how many.")
@why_option
@yes_option
@json_option
@with_appcontext
def cancel(
    job: str | None,
    task: str | None,
    queue: str | None,
    state: str | None,
    older: datetime | None,
    kill: bool,
    as_bulk: bool,
    rate: float | None,
    dry_run: bool,
    why: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel the job ID, or all jobs of a filter: they do not run, or stop.

    ID may be shortened to its start or its end. A running job stops when it calls jobs.current.check_cancelled().
    """
    from ..observe.jobs import Filters
    from ..operations import cancelling as operations
    from ..operations.audit import matching, named
    from ..operations.jobs import unrecorded
    from ..text.patterns import exactly

    current = services()
    wanted = operations.Unfinished(task, queue, state, older)
    if (job is None) == (wanted == operations.Unfinished()):
        raise click.UsageError(
            "Name a job by its id, or jobs by a filter: --task, --queue, --state, --older."
        )
    if rate is not None and not as_bulk:
        raise click.UsageError("--rate needs --bulk.")
    if job is not None:
        if dry_run or as_bulk:
            option = "--bulk" if as_bulk else "--dry-run"
            raise click.UsageError(f"{option} needs a filter: --task, --queue, --state, --older.")
        with audited("cancel", named("job", [job]), why) as told:
            done = operations.cancel(current, job, kill=kill, by=BY)
            told.acted_on(1, named("job", [done.job_id]))
        echo_json(done.as_dict()) if as_json else _tell(done)
        return
    if unlisted := unrecorded(current):
        say(f"A filter finds jobs by their history. {unlisted}.", err=True)
    if as_bulk:
        filters = Filters(
            state=state, task=task and exactly(task), queue=queue and exactly(queue), until=older
        )
        options = {"kill": kill}
        start_bulk(
            current, "cancel", filters, options, rate=rate, why=why, dry_run=dry_run, yes=yes, as_json=as_json
        )
        return
    targets = operations.matching(current, wanted)
    if targets and not dry_run:
        confirm(f"Cancel {plural(len(targets), 'job')}?", yes)
    if dry_run or not targets:
        result = operations.Cancellations(0, 0)
    else:
        with audited("cancel", matching("jobs", asdict(wanted)), why) as told:
            result = _cancel_all(current, targets, kill)
            told.acted_on(result.removed + result.told)
    if as_json:
        echo_json({"jobs": len(targets), **result.as_dict(), "dry_run": dry_run})
    elif dry_run:
        say(f"{plural(len(targets), 'job')} would be cancelled")
    else:
        _tell_all(result)
    if result.left:
        raise SystemExit(INTERRUPTED)


def _cancel_all(current: Services, targets: list[Target], kill: bool) -> Cancellations:
    from ..operations import cancelling as operations

    with interruptible() as stop, progress_bar("Cancelling", len(targets)) as moved:
        return operations.cancel_all(current, targets, kill=kill, by=BY, progress=moved, stopped=stop.is_set)


def _tell(done: Cancellation) -> None:
    if done.removed:
        say(f"{done.job_id} cancelled")
    elif done.worker is not None and done.kill:
        say(f"{done.job_id} runs on {done.worker}, which kills it now")
    elif done.worker is not None:
        say(
            f"{done.job_id} runs on {done.worker}: it stops at its next jobs.current.check_cancelled(), and is not "
            "tried again. --kill stops it now, in pool prefork."
        )
    else:
        where = f" in {done.queue}" if done.queue else ""
        say(f"{done.job_id} does not run: the worker that meets it{where} drops it")
    for note in done.notes:
        say(f"Note: {note}", err=True)


def _tell_all(result: Cancellations) -> None:
    say(f"{plural(result.removed, 'job')} cancelled")
    if result.told:
        say(
            f"{plural(result.told, 'job')} more cannot be removed from where they are: workers drop them when they "
            "meet them, and running ones stop at their next jobs.current.check_cancelled()"
        )
    for note in result.notes:
        say(f"Note: {note}", err=True)
    if result.left:
        say(f"Stopped: {result.left} not looked at. Run the same command again to go on.", err=True)


__all__ = ["cancel"]
