"""``flask jobs dead``: look at dead letters, replay or discard them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from flask.cli import AppGroup, with_appcontext

from ..domain.job import Reason
from . import letter_views
from .base import (
    MOST,
    Moment,
    Rate,
    confirm,
    console,
    echo_json,
    json_option,
    plural,
    say,
    services,
    yes_option,
)
from .running import INTERRUPTED, interruptible, progress_bar

if TYPE_CHECKING:
    from ..operations.dead_letters import Filters, Result
    from ..services import Services

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--fingerprint", metavar="HEX", help="Those that died of the same cause."),
    click.option("--since", type=Moment(), help="Died since: 2h, 30m, 7d, or an ISO time (UTC)."),
    click.option("--reason", type=click.Choice(list(map(str, Reason))), help="Why they died."),
    click.option("--task", help="Of this task."),
)

dead = AppGroup("dead", help="Look at dead letters, replay or discard them.")


def _filter_options(command: F) -> F:
    for option in _OPTIONS:
        command = option(command)
    return command


@dead.command("list")
@_filter_options
@click.option(
    "--status",
    type=click.Choice(["waiting", "replaying", "replayed", "discarded", "any"]),
    default="waiting",
    show_default=True,
)
@click.option(
    "--limit",
    type=click.IntRange(1, MOST),
    default=50,
    show_default=True,
    help="At most so many, latest first.",
)
@json_option
@with_appcontext
def list_(status: str, limit: int, as_json: bool, **conditions: Any) -> None:
    """List dead letters."""
    from ..operations import dead_letters

    current = services()
    filters = dead_letters.Filters(status=None if status == "any" else status, **conditions)
    letters = dead_letters.latest(current, filters, limit)
    if as_json:
        echo_json([letter.as_dict() for letter in letters])
        return
    if not letters:
        click.echo("No dead letters." if filters == dead_letters.Filters() else "No dead letters match.")
        _note_unarchived(current)
        return
    console().print(letter_views.listed(letters, with_status=status != "waiting"))
    total = dead_letters.count(current, filters)
    if total > len(letters):
        click.echo(f"The latest {len(letters)} of {total}; --limit shows more.")
    _note_unarchived(current)


def _note_unarchived(current: Services) -> None:
    """Mention dead letters that are still in the broker, because no worker has archived them yet."""
    from ..operations import dead_letters

    waiting = dead_letters.unarchived(current)
    if waiting:
        click.echo(
            f"{plural(waiting, 'more')} in the broker, not archived yet: a running worker does that.",
            err=True,
        )


@dead.command()
@click.argument("letter_id", metavar="ID")
@json_option
@with_appcontext
def show(letter_id: str, as_json: bool) -> None:
    """One dead letter: arguments, attempts, traceback.

    ID may be the job's, and be shortened to its start or its end.
    """
    from ..operations import dead_letters

    archived = dead_letters.find(services(), letter_id)
    if as_json:
        echo_json(archived.as_dict())
    else:
        letter_views.show(archived)


@dead.command()
@click.argument("wanted", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@_filter_options
@click.option("--limit", type=click.IntRange(1, MOST), help="At most so many, oldest first.")
@click.option("--rate", type=Rate(), help="At most so many per second: 10/s, 30/m.")
@click.option("--queue", help="Send them to this queue, not to the one they came from.")
@click.option("--force", is_flag=True, help="Also discarded ones, and messages that are no jobs.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@yes_option
@with_appcontext
def replay(
    wanted: tuple[str, ...],
    everything: bool,
    limit: int | None,
    rate: float | None,
    queue: str | None,
    force: bool,
    dry_run: bool,
    yes: bool,
    **conditions: Any,
) -> None:
    """Run dead jobs again: same job id, fresh attempts. Name IDs, a filter, or --all."""
    from ..config.queue_names import queue_name
    from ..operations import dead_letters

    current = services()
    if queue is not None:
        queue_name("--queue", queue)
    filters = _chosen(current, wanted, everything, conditions)
    if not wanted and not dry_run:
        _ask("Replay", current, filters, limit, yes)
    with interruptible() as stop, progress_bar("Replaying", limit) as moved:
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
    for idle in dead_letters.idle_queues(current, result):
        say(f"Warning: no worker consumes {idle!r}. Start one: flask jobs worker --queues {idle}", err=True)
    _tell("replayed", result)


@dead.command()
@click.argument("wanted", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@_filter_options
@click.option("--limit", type=click.IntRange(1, MOST), help="At most so many, oldest first.")
@click.option("--dry-run", is_flag=True, help="Only say what would be discarded.")
@yes_option
@with_appcontext
def discard(
    wanted: tuple[str, ...], everything: bool, limit: int | None, dry_run: bool, yes: bool, **conditions: Any
) -> None:
    """Put dead letters away: they will not run, and stay in the table until they are pruned."""
    from ..operations import dead_letters

    current = services()
    filters = _chosen(current, wanted, everything, conditions)
    if not dry_run:
        _ask("Discard", current, filters, limit, yes)
    _tell("discarded", dead_letters.discard(current, filters, limit=limit, dry_run=dry_run))


def _chosen(
    current: Services, wanted: tuple[str, ...], everything: bool, conditions: dict[str, Any]
) -> Filters:
    from ..operations import dead_letters

    ways = [bool(wanted), everything, any(value is not None for value in conditions.values())]
    if sum(ways) != 1:
        raise click.UsageError(
            "Name dead letters by their ids, or by filters (--task, --since, …), or say --all."
        )
    return dead_letters.named(current, wanted) if wanted else dead_letters.Filters(**conditions)


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
        raise SystemExit(INTERRUPTED)
    if result.skipped and not result.ids:
        raise SystemExit(1)
