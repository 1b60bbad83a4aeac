"""``flask jobs dead``: look at dead letters, replay or discard them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click
from flask.cli import AppGroup, with_appcontext

from ..domain.job import Reason
from ..text.counts import plural
from . import letter_views
from .base import (
    MOST,
    Moment,
    Rate,
    audited,
    confirm,
    console,
    echo_json,
    json_option,
    say,
    services,
    why_option,
    yes_option,
)
from .bulk import bulk_option
from .bulk import start as start_bulk
from .incidents import incidents
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
dead.add_command(incidents)


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
    dead_letters.check(current, filters)
    letters = dead_letters.latest(current, filters, limit)
    if as_json:
        echo_json([letter.as_dict(current.texts(letter.letter.task)) for letter in letters])
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
            f"{waiting} more in the broker, not archived yet: a running worker does that.",
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

    current = services()
    archived = dead_letters.find(current, letter_id)
    texts = current.texts(archived.letter.task)
    if as_json:
        echo_json(archived.as_dict(texts))
    else:
        letter_views.show(archived, texts)


@dead.command()
@click.argument("wanted", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@_filter_options
@click.option("--limit", type=click.IntRange(1, MOST), help="At most so many, oldest first.")
@click.option("--rate", type=Rate(), help="At most so many per second: 10/s, 30/m.")
@click.option("--queue", help="Send them to this queue, not to the one they came from.")
@click.option("--args", "args_", metavar="JSON", help="Of one letter: other positional arguments, a list.")
@click.option("--kwargs", metavar="JSON", help="Of one letter: other keyword arguments, an object.")
@click.option("--force", is_flag=True, help="Also discarded ones, and messages that are no jobs.")
@bulk_option
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@why_option
@yes_option
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
        filtered = any(each is not None for each in conditions.values())
        if len(wanted) != 1 or everything or dry_run or as_bulk or filtered:
            raise click.UsageError("--args and --kwargs change one dead letter: name its id, and no filter.")
        _replay_changed(current, wanted[0], why, args=args_, kwargs=kwargs, queue=queue, force=force)
        return
    filters = _chosen(current, wanted, everything, conditions)
    if as_bulk:
        _refuse_limit(limit)
        options = {"queue": queue, "force": force}
        start_bulk(current, "replay", filters, options, rate=rate, why=why, dry_run=dry_run, yes=yes)
        return
    if not wanted and not dry_run:
        _ask("Replay", current, filters, limit, yes)
    with (
        audited("replay", _about(filters), why, dry_run=dry_run) as told,
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
    _replayed(current, result)


def _replay_changed(current: Services, wanted: str, why: str | None, **options: Any) -> None:
    from ..operations import dead_letters

    with audited("edit", _about(dead_letters.named(current, (wanted,))), why) as told:
        result = dead_letters.replay_changed(current, wanted, **options)
        told.acted_on(len(result.ids))
    _replayed(current, result)


def _replayed(current: Services, result: Result) -> None:
    from ..operations import dead_letters

    for idle in dead_letters.idle_queues(current, result):
        say(f"Warning: no worker consumes {idle!r}. Start one: flask jobs worker --queues {idle}", err=True)
    _tell("replayed", result)


@dead.command()
@click.argument("wanted", nargs=-1, metavar="ID...")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@_filter_options
@click.option("--limit", type=click.IntRange(1, MOST), help="At most so many, oldest first.")
@click.option("--rate", type=Rate(), help="With --bulk: at most so many per second: 10/s, 30/m.")
@bulk_option
@click.option("--dry-run", is_flag=True, help="Only say what would be discarded.")
@why_option
@yes_option
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
    **conditions: Any,
) -> None:
    """Put dead letters away: they will not run, and stay in the table until they are pruned."""
    from ..operations import dead_letters

    current = services()
    filters = _chosen(current, wanted, everything, conditions)
    if as_bulk:
        _refuse_limit(limit)
        start_bulk(current, "discard", filters, {}, rate=rate, why=why, dry_run=dry_run, yes=yes)
        return
    if rate is not None:
        raise click.UsageError("--rate needs --bulk.")
    if not dry_run:
        _ask("Discard", current, filters, limit, yes)
    with audited("discard", _about(filters), why, dry_run=dry_run) as told:
        result = dead_letters.discard(current, filters, limit=limit, dry_run=dry_run)
        told.acted_on(len(result.ids))
    _tell("discarded", result)


def _chosen(
    current: Services, wanted: tuple[str, ...], everything: bool, conditions: dict[str, Any]
) -> Filters:
    from ..operations import dead_letters

    ways = [bool(wanted), everything, any(value is not None for value in conditions.values())]
    if sum(ways) != 1:
        raise click.UsageError(
            "Name dead letters by their ids, or by filters (--task, --since, …), or say --all."
        )
    if wanted:
        return dead_letters.named(current, wanted)
    filters = dead_letters.Filters(**conditions)
    dead_letters.check(current, filters)
    return filters


def _refuse_limit(limit: int | None) -> None:
    if limit is not None:
        raise click.UsageError("--bulk acts on all dead letters of the filter; leave out --limit.")


def _about(filters: Filters) -> str:
    from ..operations.audit import matching, named

    if filters.ids:
        return named("dead letter", filters.ids)
    return matching("dead letters", {**asdict(filters), "status": None})


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
