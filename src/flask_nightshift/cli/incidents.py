"""``flask jobs dead incidents``: dead letters that died of the same cause, with their number and their trend."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext

from ..domain.job import Reason
from .base import Moment, ago, cells, console, echo_json, json_option, services, short_error, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..observe.incidents import Incident, Incidents

_BARS = " ▁▂▃▄▅▆▇█"
_ASCII_BARS = " .:-=+*#@"
_WIDEST = 14


@click.command()
@click.option("--task", help="Of this task.")
@click.option("--reason", type=click.Choice(list(map(str, Reason))), help="Why they died.")
@click.option("--since", type=Moment(), help="With a death since: 2h, 30m, 7d, or an ISO time (UTC).")
@click.option("--all", "everything", is_flag=True, help="Also those of which no dead letter waits any more.")
@click.option("--days", is_flag=True, help="The trend of 14 days, not of 24 hours.")
@click.option("--by-count", is_flag=True, help="The largest first, not the latest.")
@click.option(
    "--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most this many incidents."
)
@json_option
@with_appcontext
def incidents(
    task: str | None,
    reason: str | None,
    since: datetime | None,
    everything: bool,
    days: bool,
    by_count: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Dead letters by cause: how many, since when, and whether it goes on.

    Letters have the same fingerprint if they are of the same task and error, raised at the same place.
    """
    from ..observe import incidents as read

    wanted = read.Wanted(not everything, task, reason, since, by_count=by_count)
    found = read.incidents(services(), wanted, limit, read.DAY if days else read.HOUR)
    if as_json:
        echo_json([each.as_dict() for each in found.found])
    elif not found.found:
        click.echo("No incidents." if wanted == read.Wanted() else "No incidents match.")
    else:
        _print(found, days)


def _print(found: Incidents, days: bool) -> None:
    right = {"justify": "right"}
    trend = "14 days" if days else "24 hours"
    columns = (
        ("waiting", right), trend, "last", "first", ("task", {"ratio": 2}), ("error", {"ratio": 3}), "fingerprint",
    )  # fmt: skip
    shown = table(*columns)
    now = datetime.now(UTC)
    for each in found.found:
        shown.add_row(*_row(each, now))
    console().print(shown)
    if found.total > len(found.found):
        click.echo(f"{len(found.found)} of {found.total} incidents; --limit shows more.")
    click.echo("Go on with one: flask jobs dead list, replay or discard --fingerprint HEX")


def _row(incident: Incident, now: datetime) -> Sequence[str]:
    ages: list[Any] = [
        ago(max(0.0, (now - at).total_seconds())) for at in (incident.last_at, incident.first_at)
    ]
    error = short_error(incident.error, incident.message) or incident.reason
    waiting, rest = cells([incident.waiting]), cells([*ages, incident.task, error, incident.fingerprint])
    counts = incident.trend.counts
    if len(counts) > _WIDEST:  # two hours in one bar leave room for the error
        counts = tuple(map(sum, zip(counts[::2], counts[1::2], strict=True)))
    return [*waiting, bars(counts), *rest]


def bars(counts: Sequence[int]) -> str:
    """``counts`` as a line of bars, in ASCII where the output knows no others."""
    marks = _BARS if _takes(_BARS) else _ASCII_BARS
    most = max(counts, default=0)
    last = len(marks) - 1
    return "".join(marks[-(-count * last // most) if most else 0] for count in counts)


def _takes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


__all__ = ["bars", "incidents"]
