"""``flask jobs schedule``: look at the entries of the schedule, and steer them.

What a command orders is stored, and each Beat obeys it within 2 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, with_appcontext

from ..text.printable import in_a_line
from .base import (
    ago,
    audited,
    cells,
    console,
    echo_json,
    json_option,
    say,
    services,
    short_error,
    table,
    when,
    why_option,
)

if TYPE_CHECKING:
    from ..observe.schedule import Run, ScheduledEntry

OVERDUE = 10.0
"""Seconds after which no Beat seems to run."""

schedule = AppGroup("schedule", help="Look at the entries of the schedule, and steer them.")


@schedule.command("list")
@json_option
@with_appcontext
def list_(as_json: bool) -> None:
    """List the entries: when each runs, its next run, its last run and what became of it."""
    from ..observe import schedule as entries

    found = entries.seen(services())
    if as_json:
        echo_json([entry.as_dict() for entry in found])
    else:
        console().print(_listed(found))


@schedule.command()
@click.argument("name", metavar="ENTRY")
@json_option
@with_appcontext
def show(name: str, as_json: bool) -> None:
    """Show one entry with its last runs."""
    from ..observe import schedule as entries

    entry = entries.one(services(), name)
    if as_json:
        echo_json(entry.as_dict())
    else:
        _print(entry)


@schedule.command("run-now")
@click.argument("name", metavar="ENTRY")
@why_option
@json_option
@with_appcontext
def run_now(name: str, why: str | None, as_json: bool) -> None:
    """Enqueue the job of an entry now, with its options; its next run stays when it was."""
    from ..operations import schedule as operations

    with audited("run", f"entry {name}", why) as told:
        job_id = operations.run_now(services(), name)
        told.acted_on(1)
    if as_json:
        echo_json({"entry": name, "job_id": job_id})
    else:
        say(job_id)


@schedule.command("skip-next")
@click.argument("name", metavar="ENTRY")
@why_option
@json_option
@with_appcontext
def skip_next(name: str, why: str | None, as_json: bool) -> None:
    """Leave out the next run of an entry."""
    from ..operations import schedule as operations

    with audited("skip", f"entry {name}", why) as told:
        skipped = operations.skip_next(services(), name)
        told.acted_on(1)
    if as_json:
        echo_json({"entry": name, "left_out": skipped.isoformat()})
    else:
        say(f"{name}: the run due at {when(skipped)} UTC is left out")


@schedule.command()
@click.argument("names", metavar="ENTRY...", nargs=-1, required=True)
@why_option
@json_option
@with_appcontext
def pause(names: tuple[str, ...], why: str | None, as_json: bool) -> None:
    """Enqueue no job of these entries until they are resumed."""
    from ..operations import schedule as operations
    from ..operations.audit import named

    with audited("pause", named("entry", names), why) as told:
        found = operations.pause(services(), names, by="flask jobs")
        told.acted_on(len(found))
    if as_json:
        echo_json([{"entry": name, "paused_at": at.isoformat()} for name, at in found.items()])
        return
    for name, at in found.items():
        say(f"{name}: paused since {when(at)} UTC")


@schedule.command()
@click.argument("names", metavar="ENTRY...", nargs=-1, required=True)
@why_option
@json_option
@with_appcontext
def resume(names: tuple[str, ...], why: str | None, as_json: bool) -> None:
    """Let these entries run again: take back pause and skip-next.

    The runs that fell into the pause are not made up for.
    """
    from ..operations import schedule as operations
    from ..operations.audit import named

    with audited("resume", named("entry", names), why) as told:
        found = operations.resume(services(), names)
        told.acted_on(sum(found.values()))
    if as_json:
        echo_json([{"entry": name, "resumed": done} for name, done in found.items()])
        return
    for name, done in found.items():
        say(f"{name}: {'resumed' if done else 'was not paused'}")


def _listed(found: Sequence[ScheduledEntry]) -> Any:
    now = datetime.now(UTC)
    shown = table(
        ("entry", {"ratio": 2}),
        ("when", {"ratio": 3, "no_wrap": False}),
        "next in",
        "last",
        ("outcome", {"ratio": 1, "min_width": 9}),
    )
    for entry in found:
        last = entry.last
        since = None if last is None else ago(max(0.0, (now - last.due_at).total_seconds())) + " ago"
        shown.add_row(
            *cells(
                [entry.name, entry.words, _next(entry, now), since, None if last is None else _outcome(last)]
            )
        )
    return shown


def _skips(entry: ScheduledEntry) -> bool:
    """Whether a run that is still to come is left out."""
    return entry.skips_until is not None and entry.skips_until > datetime.now(UTC)


def _next(entry: ScheduledEntry, now: datetime) -> str | None:
    if entry.paused_at is not None:
        return "paused"
    if entry.next_at is None:
        return None
    left = (entry.next_at - now).total_seconds()
    return "overdue" if left < -OVERDUE else ago(max(0.0, left))


def _outcome(run: Run) -> str:
    return run.state or ("enqueued" if run.job_id else "left out")


def _print(entry: ScheduledEntry) -> None:
    lines = {
        "entry": entry.name,
        "task": entry.task,
        "when": entry.words,
        "cron": entry.cron,
        "queue": entry.queue,
        "jitter": f"{entry.jitter:g} s" if entry.jitter else None,
        "overlap": entry.overlap,
        "catch up": entry.catch_up,
        "args": entry.args,
        "kwargs": entry.kwargs,
        "options": entry.options,
        "paused": f"since {when(entry.paused_at)} UTC" if entry.paused_at else None,
        "skips": f"runs due until {when(entry.skips_until)} UTC" if _skips(entry) else None,
        "next": f"{when(entry.next_at)} UTC" if entry.next_at else None,
        "runs": entry.count,
    }
    for name, value in lines.items():
        if value not in (None, "", "[]", "{}", {}):
            say(f"{name:<8} {in_a_line(value)}")
    if entry.runs:
        columns = ("due (UTC)", ("job", {"min_width": 36}), "outcome", ("error", {"ratio": 1}))
        shown = table(*columns, title="Last runs")
        for run in entry.runs:
            shown.add_row(
                *cells([when(run.due_at), run.job_id, _outcome(run), short_error(run.error, run.message)])
            )
        console().print(shown)


__all__ = ["schedule"]
