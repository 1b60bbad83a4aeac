"""``flask jobs audit``: who changed what, why, and how it ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from .base import Moment, cells, console, echo_json, json_option, say, services, table, when

if TYPE_CHECKING:
    from rich.table import Table

    from ..observe.audit import Row

MOST = 1_000


@click.command()
@click.option("--by", metavar="NAME", help="What this user or program did.")
@click.option("--action", metavar="VERB", help="Actions of this kind: replay, pause, purge, …")
@click.option("--since", type=Moment(), help="Since: 2h, 30m, 7d, or an ISO time (UTC).")
@click.option("--until", type=Moment(), help="Before.")
@click.option(
    "--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most this many."
)
@click.option("--after", metavar="KEY", help="Go on after this key, which the page before has named.")
@json_option
@with_appcontext
def audit(
    by: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    after: str | None,
    as_json: bool,
) -> None:
    """List what people and programs changed, the latest first."""
    from ..observe import audit as actions

    if since and until and since >= until:
        raise click.UsageError(f"Nothing happened since {when(since)} and before {when(until)} (UTC).")
    filters = actions.Filters(by, action, since, until)
    page = actions.page(services(), filters, limit=limit, after=after)
    if as_json:
        echo_json(page.as_dict())
        return
    if not page.actions:
        say("No action is recorded." if filters == actions.Filters() else "No recorded action matches.")
        return
    console().print(_listed(page.actions))
    if page.after is not None:
        click.echo(f"There are more: --after {shlex.quote(page.after)}")


def _listed(found: Sequence[Row]) -> Table:
    shown = table("at (UTC)", ("by", {"ratio": 2}), "action", ("target", {"ratio": 4}), "count", "outcome",
                  ("why", {"ratio": 3}))  # fmt: skip
    for row in found:
        said = row.why if row.error is None else row.error
        shown.add_row(*cells([when(row.at), row.by, row.action, row.target, row.count, row.outcome, said]))
    return shown


__all__ = ["audit"]
