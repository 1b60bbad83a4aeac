"""``flask jobs dead replay`` and ``flask jobs dead discard``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext

from ..text.counts import plural
from . import letter_views
from .base import (
    MOST,
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
from .letter_filters import about, chosen, filter_options
from .running import INTERRUPTED, interruptible, progress_bar

if TYPE_CHECKING:
    from ..operations.dead_letters import Filters, Result
    from ..services import Services


@click.command()
@click.argument("wanted", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@filter_options
@click.option("--limit", type=click.IntRange(1, MOST), help="At most this many, oldest first.")
@click.option("--rate", type=Rate(), help="At most this many per second: 10/s, 30/m.")
@click.option("--queue", help="Send them to this queue, not to the one they came from.")
@click.option("--args", "args_", metavar="JSON", help="Of one letter: other positional arguments, a list.")
@click.option("--kwargs", metavar="JSON", help="Of one letter: other keyword arguments, an object.")
@click.option("--force", is_flag=True, help="Also discarded ones, and messages that are no jobs.")
@bulk_option
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@why_option
@yes_option
@json_option
@with_appcontext
def replay(
    wanted: tuple[str, ...],
    everything: bool,
    limit: int | None,
    rate: float | None,
    queue: str | None,
    args_: str | None,
    kwargs: str | None,
    force: bool,
    as_bulk: bool,
    dry_run: bool,
    why: str | None,
    yes: bool,
    as_json: bool,
    **conditions: Any,
) -> None:
    """Run dead jobs again: same job id, fresh attempts. Name IDs, a filter, or --all.

    With --args or --kwargs one job runs with other arguments, which are checked against its task. '***' at the place of
    a hidden value keeps it.
    """
    from ..config.queue_names import queue_name
    from ..operations import dead_letters

    current = services()
    if queue is not None:
        queue_name("--queue", queue)
    if args_ is not None or kwargs is not None:
        others = any(each is not None for each in (*conditions.values(), limit, rate))
        if len(wanted) != 1 or everything or dry_run or as_bulk or others:
            raise click.UsageError(
                "--args and --kwargs change one dead letter: name its id, and beside them only --queue, --force, "
                "--why and --json."
            )
        changes = {"args": args_, "kwargs": kwargs, "queue": queue, "force": force}
        _replayed(current, _replay_changed(current, wanted[0], why, changes), as_json)
        return
    filters = chosen(current, wanted, everything, conditions)
    if as_bulk:
        _refuse_limit(limit)
        options = {"queue": queue, "force": force}
        start_bulk(
            current, "replay", filters, options, rate=rate, why=why, dry_run=dry_run, yes=yes, as_json=as_json
        )
        return
    if not wanted and not dry_run:
        _ask("Replay", current, filters, limit, yes)
    with (
        audited("replay", about(filters), why, dry_run=dry_run) as told,
        interruptible() as stop,
        progress_bar("Replaying", limit) as moved,
    ):
        result = dead_letters.replay(
            current,
            filters,
            limit=limit,
            rate=rate,
            dry_run=dry_run,
            force=force,
            queue=queue,
            sleep=stop.wait,
            progress=moved,
            stopped=stop.is_set,
        )
        told.acted_on(len(result.ids))
    _replayed(current, result, as_json)


def _replay_changed(current: Services, wanted: str, why: str | None, changes: dict[str, Any]) -> Result:
    from ..operations import dead_letters

    with audited("edit", about(dead_letters.named(current, (wanted,))), why) as told:
        result = dead_letters.replay_changed(current, wanted, **changes)
        told.acted_on(len(result.ids))
    return result


def _replayed(current: Services, result: Result, as_json: bool) -> None:
    from ..operations import dead_letters

    told = dead_letters.replayed(current, result)
    if as_json:
        echo_json(told)
    else:
        for idle in told["unheard"]:
            say(
                f"Warning: no worker consumes {idle!r}. Start one: flask jobs worker --queues {idle}",
                err=True,
            )
        _tell("replayed", result)
    _end(result)


@click.command()
@click.argument("wanted", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@filter_options
@click.option("--limit", type=click.IntRange(1, MOST), help="At most this many, oldest first.")
@click.option("--rate", type=Rate(), help="With --bulk: at most this many per second: 10/s, 30/m.")
@bulk_option
@click.option("--dry-run", is_flag=True, help="Only say what would be discarded.")
@why_option
@yes_option
@json_option
@with_appcontext
def discard(
    wanted: tuple[str, ...],
    everything: bool,
    limit: int | None,
    rate: float | None,
    as_bulk: bool,
    dry_run: bool,
    why: str | None,
    yes: bool,
    as_json: bool,
    **conditions: Any,
) -> None:
    """Put dead letters away: they will not run, and stay in the table until they are pruned."""
    from ..operations import dead_letters

    current = services()
    filters = chosen(current, wanted, everything, conditions)
    if as_bulk:
        _refuse_limit(limit)
        start_bulk(
            current, "discard", filters, {}, rate=rate, why=why, dry_run=dry_run, yes=yes, as_json=as_json
        )
        return
    if rate is not None:
        raise click.UsageError("--rate needs --bulk.")
    if not dry_run:
        _ask("Discard", current, filters, limit, yes)
    with audited("discard", about(filters), why, dry_run=dry_run) as told:
        result = dead_letters.discard(current, filters, limit=limit, dry_run=dry_run)
        told.acted_on(len(result.ids))
    if as_json:
        echo_json(result.as_dict())
    else:
        _tell("discarded", result)
    _end(result)


def _refuse_limit(limit: int | None) -> None:
    if limit is not None:
        raise click.UsageError("--bulk acts on all dead letters of the filter; leave out --limit.")


def _ask(verb: str, current: Services, filters: Filters, limit: int | None, yes: bool) -> None:
    from ..operations import dead_letters

    if count := dead_letters.affected(current, filters, limit):
        confirm(f"{verb} {plural(count, 'dead letter')}?", yes)


def _tell(done: str, result: Result) -> None:
    for letter_id, why in result.skipped.items():
        say(f"{letter_views.tail(letter_id)} skipped: {why}", err=True)
    for letter_id in result.ids:
        say(f"{letter_views.tail(letter_id)} {'would be ' if result.dry_run else ''}{done}")
    verb = "would be " if result.dry_run else ""
    click.echo(
        f"{plural(len(result.ids), 'dead letter')} {verb}{done}"
        + (f", {len(result.skipped)} skipped" if result.skipped else "")
    )
    if result.left:
        click.echo(f"Stopped: {result.left} not looked at. Run the same command again to go on.", err=True)


def _end(result: Result) -> None:
    if result.left:
        raise SystemExit(INTERRUPTED)
    if result.skipped and not result.ids:
        raise SystemExit(1)


__all__ = ["discard", "replay"]
