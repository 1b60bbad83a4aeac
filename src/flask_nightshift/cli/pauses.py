"""``flask jobs pause`` and ``flask jobs resume``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from flask.cli import with_appcontext

from ..errors import DatabaseUnavailable
from .base import audited, echo_json, json_option, say, services, why_option

if TYPE_CHECKING:
    from ..operations.pauses import Change
    from ..services import Services

_ALL = "All queues that the configuration or a task names."


@click.command()
@click.argument("queues", nargs=-1, metavar="QUEUE...")
@click.option("--all", "everything", is_flag=True, help=_ALL)
@click.option("--reason", "--why", "reason", metavar="TEXT", help="Shown wherever the pause is shown.")
@click.option(
    "--wait",
    "patience",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait so long until no worker holds a job of these queues; exit with 1 if one still does.",
)
@json_option
@with_appcontext
def pause(
    queues: tuple[str, ...], everything: bool, reason: str | None, patience: float | None, as_json: bool
) -> None:
    """Pause queues: no worker begins a job of theirs until they are resumed. Running jobs finish."""
    from ..operations import pauses as operations
    from ..operations.audit import named

    current = services()
    if bool(queues) == everything:
        raise click.UsageError("Name the queues, or say --all.")
    names = current.queues() if everything else queues
    with audited("pause", named("queue", names), reason) as told:
        changes = operations.pause(current, names, reason=reason)
        told.acted_on(len(changes))
    _warn(changes)
    if as_json:
        echo_json([change.as_dict() for change in changes])
    else:
        for change in changes:
            say(f"{change.queue}: paused" + (f"; it was {change.before}" if change.before else ""))
    if patience is not None:
        _wait(current, [change.queue for change in changes], patience)


@click.command()
@click.argument("queues", nargs=-1, metavar="QUEUE...")
@click.option("--all", "everything", is_flag=True, help="All paused queues.")
@why_option
@json_option
@with_appcontext
def resume(queues: tuple[str, ...], everything: bool, why: str | None, as_json: bool) -> None:
    """Resume paused queues. Exit with 1 if a queue is neither paused nor known."""
    from ..operations import pauses as operations
    from ..operations.audit import named

    if bool(queues) == everything:
        raise click.UsageError("Name the queues, or say --all.")
    with audited("resume", named("queue", queues) if queues else "all paused queues", why) as told:
        changes = operations.resume(services(), queues)
        told.acted_on(sum(change.before is not None for change in changes))
    _warn(changes)
    if as_json:
        echo_json([change.as_dict() for change in changes])
    elif not changes:
        say("No queue is paused.")
    else:
        for change in changes:
            said = f"resumed; it was {change.before}" if change.before else "is not paused"
            say(f"{change.queue}: {said}")
    if any(change.doubt for change in changes):
        raise SystemExit(1)


def _wait(current: Services, queues: Sequence[str], seconds: float) -> None:
    from ..operations import quiet

    try:
        held = quiet.wait(current, queues, seconds)
    except DatabaseUnavailable as exc:
        exc.add_note("The queues are paused, but nobody knows whether jobs of theirs still run.")
        raise
    for each in held:
        say(f"{each.worker} {each.why}", err=True)
    if held:
        say(f"The queues are paused, but after {seconds:g} s not quiet yet.", err=True)
        raise SystemExit(1)
    say("No worker holds a job of these queues.", err=True)


def _warn(changes: Sequence[Change]) -> None:
    for change in changes:
        if change.doubt:
            say(f"Warning: {change.doubt}", err=True)


__all__ = ["pause", "resume"]
