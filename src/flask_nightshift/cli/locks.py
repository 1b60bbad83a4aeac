"""Commands on the locks of unique jobs: ``locks`` and ``locks release``."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from flask.cli import AppGroup, with_appcontext

from .base import MOST, ago, audited, cells, console, echo_json, json_option, say, services, table, why_option
from .letter_views import tail

WHOLE = {"ratio": 1, "overflow": "fold", "no_wrap": False}
"""A key that is too long for its column goes on in the next line, because ``release`` needs all of it."""
_MANY = 100


@click.group("locks", cls=AppGroup, invoke_without_command=True, help="The locks of unique jobs.")
@click.option("--limit", type=click.IntRange(1, MOST), default=_MANY, show_default=True)
@json_option
@click.pass_context
@with_appcontext
def locks(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List the locks of unique jobs."""
    if ctx.invoked_subcommand is not None:
        return
    from ..operations import locks as operations

    held = operations.held(services(), limit + 1)
    found = held[:limit]
    if as_json:
        echo_json([lock.as_dict() for lock in found])
        return
    if not found:
        say("No unique job holds a lock.")
        return
    now = datetime.now(UTC)
    shown = table(("key", WHOLE), "job", "until", "held for", "ends in", "begun")
    for lock in found:
        times = ago((now - lock.taken_at).total_seconds()), ago((lock.expires_at - now).total_seconds())
        begun = "yes" if lock.started_at else "no"
        shown.add_row(*cells([lock.key, tail(lock.job_id), lock.until, *times, begun]))
    console().print(shown)
    if len(held) > limit:
        say(f"These are the first {limit}; --limit shows more.")


@locks.command()
@click.argument("key")
@why_option
@json_option
@with_appcontext
def release(key: str, why: str | None, as_json: bool) -> None:
    """Release a lock, so that another job can have it. The job that holds it is not touched."""
    from ..operations import locks as operations

    with audited("release", operations.named(key), why) as told:
        lock = operations.release(services(), key)
        told.acted_on(int(lock is not None))
    if lock is None:
        raise click.ClickException(f"no job holds the lock {key!r}; 'flask jobs locks' lists the locks")
    if as_json:
        echo_json(lock.as_dict())
        return
    say(f"Released {lock.key}, which the job {lock.job_id} held.")


__all__ = ["locks"]
