"""Commands on what waits in queues: ``purge`` and ``delayed``."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .base import confirm, plural, runtime


@click.command()
@click.argument("queues", nargs=-1, metavar="QUEUE...")
@click.option("--all", "everything", is_flag=True, help="All queues that the configuration or a task names.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_appcontext
def purge(queues: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Delete the jobs that wait in queues. They are gone for good: not run, not kept as dead letters."""
    current = runtime()
    if bool(queues) == everything:
        raise click.UsageError("Name the queues, or say --all.")
    names = current.queues() if everything else tuple(dict.fromkeys(queues))
    depths = current.broker.depths(names)
    waiting = sum(depth.ready + (depth.delayed or 0) for depth in depths)
    confirm(f"Delete {plural(waiting, 'job')} of {', '.join(names)} for good?", yes)
    for name in names:
        click.echo(f"{name}: {plural(current.broker.purge(name), 'job')} deleted")
