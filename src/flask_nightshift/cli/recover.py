"""``flask jobs recover``: publish durable jobs again after the broker has lost its data."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..text.counts import plural
from .base import audited, confirm, echo_json, json_option, say, services, why_option, yes_option


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say how many jobs would be published.")
@click.option(
    "--wait",
    "patience",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for jobs that live workers run now; publish those that are lost then, too.",
)
@why_option
@yes_option
@json_option
@with_appcontext
def recover(dry_run: bool, patience: float, why: str | None, yes: bool, as_json: bool) -> None:
    """Publish durable jobs again that the broker has lost. Jobs that a live worker runs are left alone."""
    from ..operations import recovery as operations

    if dry_run and patience:
        raise click.UsageError(
            "--dry-run publishes nothing, so there is nothing to --wait for; use one of them"
        )
    current = services()
    if not dry_run:
        found = operations.recover(current, dry_run=True)
        if found.jobs or (patience and found.held):
            confirm(f"Has the broker lost its data? Publish {plural(found.jobs, 'durable job')} again?", yes)
    with audited("recover", "durable jobs", why, dry_run=dry_run) as told:
        result = operations.recover(current, dry_run=dry_run, patience=patience)
        told.acted_on(result.jobs)
    if as_json:
        echo_json({**result.as_dict(), "dry_run": dry_run})
        return
    say(f"{plural(result.jobs, 'durable job')} {'would be ' if dry_run else ''}published again")
    if result.held:
        say(
            f"{plural(result.held, 'job')} left alone, as a live worker runs it now: use --wait, or run this again"
        )
    if result.waiting:
        say(f"{plural(result.waiting, 'job')} left to the relay, because their queue refused them")


__all__ = ["recover"]
