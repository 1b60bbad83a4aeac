"""``flask jobs mcp``: tools for assistants (Model Context Protocol), on standard input and output."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..domain.actor import EDIT, PERMISSIONS, VIEW, VIEW_ARGS
from .base import services

_ALLOWED = [name for name in PERMISSIONS if name not in (VIEW, VIEW_ARGS, EDIT)]
"""Without ``edit``: whoever changes arguments has to see them."""


@click.command()
@click.option(
    "--allow",
    multiple=True,
    metavar=f"[{'|'.join(_ALLOWED)}]",
    help="Let the assistant do this; repeatable, or with commas.  [default: it only reads]",
)
@with_appcontext
def mcp(allow: tuple[str, ...]) -> None:
    """Serve tools for an assistant on standard input and output (needs Flask-Nightshift[mcp]).

    It reads what the pages show, without arguments of jobs, and changes nothing that --allow does not name.
    """
    wanted = {name.strip() for text in allow for name in text.split(",") if name.strip()}
    for unknown in sorted(wanted - set(_ALLOWED)):
        raise click.UsageError(f"--allow {unknown!r}: use some of {', '.join(_ALLOWED)}.")
    try:
        from ..assistant import server
    except ImportError as exc:
        raise click.ClickException(f"install Flask-Nightshift[mcp]: {exc}") from exc
    server.serve(services(), frozenset(wanted))


__all__ = ["mcp"]
