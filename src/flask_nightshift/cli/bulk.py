"""``flask jobs bulk``: actions on all jobs or dead letters of a filter, which workers carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from flask.cli import AppGroup, with_appcontext

from .base import (
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
    when,
    why_option,
)
from .letter_views import tail

if TYPE_CHECKING:
    from rich.table import Table

    from ..operations.bulk import BulkAction
    from ..services import Services

bulk = AppGroup("bulk", help="Actions on many jobs or dead letters, which workers carry out.")
bulk_option = click.option(
    "--bulk", "as_bulk", is_flag=True, help="Leave it to the workers, as a bulk action: see flask jobs bulk."
)


@bulk.command("list")
@click.option("--open", "only_open", is_flag=True, help="Those that have not ended.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many."
)
@json_option
@with_appcontext
def list_(only_open: bool, limit: int, as_json: bool) -> None:
    """List bulk actions, the latest first."""
    from ..operations import bulk as operations

    found = operations.latest(services(), limit, only_open=only_open)
    if as_json:
        echo_json([action.as_dict() for action in found])
    elif not found:
        say("No bulk action is open." if only_open else "No bulk actions.")
    else:
        console().print(_listed(found))


@bulk.command()
@click.argument("action_id", metavar="ID")
@json_option
@with_appcontext
def show(action_id: str, as_json: bool) -> None:
    """Show one bulk action: how far it is. ID may be shortened to its start or its end."""
    from ..operations import bulk as operations

    action = operations.find(services(), action_id)
    if as_json:
        echo_json(action.as_dict())
        return
    lines = {
        "id": action.id,
        "action": f"{action.action} {operations.about(action, texts=True)}",
        "state": action.state,
        "done": _progress(action),
        "rate": f"{action.rate:g} per second at most",
        "by": action.by,
        "why": action.why,
        "started": f"{when(action.started_at)} UTC" if action.started_at else None,
        "ended": f"{when(action.ended_at)} UTC" if action.ended_at else None,
        "worker": action.worker,
        "error": action.error,
    }
    for name, value in lines.items():
        if value is not None:
            say(f"{name:<8} {value}")
    for reason, count in action.reasons.items():
        say(f"skipped  {count}: {reason}")


@bulk.command()
@click.argument("action_id", metavar="ID")
@why_option
@json_option
@with_appcontext
def cancel(action_id: str, why: str | None, as_json: bool) -> None:
    """End a bulk action; what it has done stays done. The portion that has begun is finished."""
    from ..operations import bulk as operations

    with audited("cancel", f"bulk action {action_id}", why) as told:
        action = operations.cancel(services(), action_id)
        told.acted_on(1, f"bulk action {action.id}")
    if as_json:
        echo_json(action.as_dict())
    else:
        say(f"{action.id} cancelled; {_progress(action)}")


def start(
    current: Services,
    action: str,
    filters: Any,
    options: Mapping[str, Any],
    *,
    rate: float | None,
    why: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool = False,
) -> None:
    """Count what the action would act on, ask, and leave it to the workers."""
    from ..operations import bulk as operations

    planned = operations.plan(current, action, filters, options)
    if dry_run or not planned.total:
        if as_json:
            echo_json({"total": planned.total, "dry_run": dry_run, "bulk": None})
        else:
            say(f"A bulk action would {action} {planned.counted}")
        return
    confirm(f"Have the workers {action} {planned.counted}?", yes)
    started = operations.start(current, planned, by=None, why=why, rate=rate)
    if as_json:
        echo_json({"total": planned.total, "dry_run": False, "bulk": started.as_dict()})
        return
    say(started.id)
    say(f"Workers {action} {planned.counted}: flask jobs bulk show {tail(started.id)}", err=True)


def _progress(action: BulkAction) -> str:
    skipped = f", {action.skipped} skipped" if action.skipped else ""
    return f"{action.acted} of {action.total}{skipped}"


def _listed(found: Sequence[BulkAction]) -> Table:
    from ..operations import bulk as operations

    shown = table("id", "started", "action", ("about", {"ratio": 3}), "state", "done", ("by", {"ratio": 1}))
    now = datetime.now(UTC)
    for action in found:
        since = f"{ago((now - action.created_at).total_seconds())} ago"
        row = [tail(action.id), since, action.action, operations.about(action, texts=True), action.state]
        shown.add_row(*cells([*row, _progress(action), action.by]))
    return shown


__all__ = ["bulk", "bulk_option", "start"]
