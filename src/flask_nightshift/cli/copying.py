"""``flask jobs copy``: enqueue a job again, as a new one, maybe with other arguments."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .base import audited, echo_json, json_option, say, services, why_option


@click.command()
@click.argument("job_id")
@click.option("--args", "args_", metavar="JSON", help="Other positional arguments, a list.")
@click.option("--kwargs", metavar="JSON", help="Other keyword arguments, an object.")
@click.option("--queue", help="Enqueue it there, not where the original came from.")
@why_option
@json_option
@with_appcontext
def copy(
    job_id: str, args_: str | None, kwargs: str | None, queue: str | None, why: str | None, as_json: bool
) -> None:
    """Enqueue a job again, as a new one: a dead letter, a durable job, or one that is delayed.

    Its callbacks and the rest of its chain run after it, too. JOB_ID may be shortened to its start or its end. '***' at
    the place of a hidden value keeps it.
    """
    from ..config.queue_names import queue_name
    from ..operations import copies

    if queue is not None:
        queue_name("--queue", queue)
    with audited(
        "run" if args_ is None and kwargs is None else "edit", f"a copy of job {job_id}", why
    ) as told:
        made = copies.enqueue(services(), job_id, args=args_, kwargs=kwargs, queue=queue)
        told.acted_on(1, f"job {made.job_id}, a copy of {made.original_id}")
    if as_json:
        echo_json(made.as_dict())
        return
    changed = ", with other arguments" if made.changed else ""
    say(f"{made.job_id} enqueued in {made.queue}: a copy of {made.original_id}{changed}")
    if made.left:
        say("It is no part of the original's group or chord.", err=True)


__all__ = ["copy"]
