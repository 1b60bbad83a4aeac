"""``flask jobs list``: pages of jobs from the history, newest first."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import with_appcontext

from ..domain.job import JobState
from ..errors import InvalidQuery
from .base import Moment, ago, cells, console, echo_json, json_option, say, services, short_error, table, when
from .letter_views import tail

if TYPE_CHECKING:
    from rich.table import Table

    from ..observe.filters import Filters
    from ..observe.jobs import Page

MOST = 10_000
"""The highest ``--limit``; ``--after`` gives the next ones."""
_STATES = [str(state) for state in JobState if state is not JobState.UNKNOWN]


class State(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in click 8.4 only
    """The state of a job."""

    name = "state"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The state; a misspelt one is refused with the one that was probably meant."""
        from ..observe import query

        try:
            return query.state(str(value))
        except InvalidQuery as exc:
            self.fail(str(exc), param, ctx)


@click.command("list")
@click.argument("words", metavar="[QUERY]", nargs=-1)
@click.option("--state", type=State(), metavar=f"[{'|'.join(_STATES)}]", help="In this state.")
@click.option("--task", help="Of this task; mail.* is every task whose name begins so.")
@click.option("--queue", help="Enqueued in this queue.")
@click.option("--worker", help="Run by this worker, last.")
@click.option("--error", metavar="TYPE", help="Dead, or waiting for a retry, because of this type of error.")
@click.option("--tag", help="With this tag.")
@click.option("--since", type=Moment(), help="Enqueued since: 2h, 30m, 7d, or an ISO time (UTC).")
@click.option("--until", type=Moment(), help="Enqueued before.")
@click.option("--search", metavar="TEXT", help="With this text in arguments, error, id or request id.")
@click.option(
    "--limit", type=click.IntRange(1, MOST), default=50, show_default=True, help="At most this many."
)
@click.option("--after", metavar="KEY", help="Go on after this key, which the page before has named.")
@json_option
@with_appcontext
def list_(words: tuple[str, ...], limit: int, after: str | None, as_json: bool, **conditions: Any) -> None:
    """List jobs, latest enqueued first. A job meets all conditions.

    QUERY says the same in words, as the search box of the dashboard does: "state:retrying task:mail.* error:timeout
    tag:eu since:2h customer". Words without a field are texts to look for.
    """
    from ..observe import jobs
    from ..operations.jobs import unrecorded

    filters = _filters(" ".join(words), conditions)
    current = services()
    page = jobs.page(current.store, filters, limit=limit, after=after)
    if as_json:
        echo_json(page.as_dict())
        return
    if page.jobs:
        console().print(_listed(page, tagged=any(job.tags for job in page.jobs)))
    elif page.after is None:
        click.echo("No jobs match." if filters != jobs.Filters() else "No jobs.")
        for hint in jobs.did_you_mean(current.store, filters):
            say(f"{hint[0].upper()}{hint[1:]}", err=True)
    if note := unrecorded(current):
        say(f"{note}.", err=True)
    _say_how_to_go_on(page, filters)


def _filters(words: str, conditions: dict[str, Any]) -> Filters:
    """The conditions of the query and of the options."""
    from ..observe import query
    from ..observe.filters import Filters

    if conditions["search"] is not None and not conditions["search"].strip():
        raise click.UsageError("--search needs a text to look for.")
    try:
        return query.joined(query.parse(words, datetime.now(UTC)), Filters(**conditions))
    except InvalidQuery as exc:
        said = str(exc)
        raise click.UsageError(f"{said[0].upper()}{said[1:]}.") from None


def _right(heading: str) -> tuple[str, dict[str, Any]]:
    return heading, {"justify": "right"}


def _listed(page: Page, *, tagged: bool) -> Table:
    columns: list[Any] = [
        "id", _right("enqueued"), "state", ("task", {"ratio": 3}), ("queue", {"ratio": 2}), _right("took"),
        ("error", {"ratio": 3}),
    ]  # fmt: skip
    shown = table(*columns, *([("tags", {"ratio": 2})] if tagged else []))
    now = datetime.now(UTC)
    for job in page.jobs:
        age = ago(_seconds(job.enqueued_at, now))
        took = ago(_seconds(job.started_at, job.finished_at))
        error = short_error(job.error, job.error_message)
        row = [tail(job.id), age, job.state, job.task, job.queue, took, error]
        shown.add_row(*cells(row + ([", ".join(job.tags)] if tagged else [])))
    return shown


def _seconds(started: datetime | None, finished: datetime | None) -> float | None:
    return max(0.0, (finished - started).total_seconds()) if started and finished else None


def _say_how_to_go_on(page: Page, filters: Filters) -> None:
    """Name the key of the next page, and how far back a search has looked."""
    if page.after is None:
        return
    go_on = f"--after {shlex.quote(page.after)}"
    if page.looked_back_to is None:
        click.echo(f"There are more: {go_on}")
        return
    texts = " and ".join(map(repr, filters.texts))
    found = "" if page.jobs else f"No job with {texts} yet. "
    say(f"{found}Looked at the jobs enqueued since {when(page.looked_back_to)} (UTC). Go on with {go_on}")


__all__ = ["list_"]
