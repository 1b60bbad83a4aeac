"""``flask jobs dead``: look at dead letters, replay or discard them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, with_appcontext

from . import letter_views
from .base import MOST, console, echo_json, json_option, services
from .dead_actions import discard, replay
from .incidents import incidents
from .letter_filters import filter_options

if TYPE_CHECKING:
    from ..services import Services

dead = AppGroup("dead", help="Look at dead letters, replay or discard them.")
for _command in (incidents, replay, discard):
    dead.add_command(_command)


@dead.command("list")
@filter_options
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
    help="At most this many, latest first.",
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
        letter_views.show(archived, texts, dead_letters.beginning(current, archived))


__all__ = ["dead"]
