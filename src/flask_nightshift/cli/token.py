"""``flask jobs token``: create, list and revoke tokens of the HTTP API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext

from ..domain.actor import PERMISSIONS
from .base import (
    Moment,
    audited,
    cells,
    console,
    echo_json,
    json_option,
    say,
    services,
    table,
    when,
    why_option,
)

token = AppGroup("token", help="Create, list and revoke tokens of the HTTP API.")


class Until(Moment):
    """A time to come: ISO 8601, or a duration from now: ``12h``, ``90d``."""

    def _moment(self, value: str) -> datetime:
        moment, now = super()._moment(value), datetime.now(UTC)
        return now + (now - moment) if value[-1:] in "smhd" else moment


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar=f"[{'|'.join(PERMISSIONS)}]",
    help="What the bearer may do; repeatable, or with commas.",
)
@click.option("--expires", type=Until(), metavar="TIME", help="Valid until: 12h, 90d, or an ISO time (UTC).")
@why_option
@json_option
@with_appcontext
def create(
    name: str, scopes: tuple[str, ...], expires: datetime | None, why: str | None, as_json: bool
) -> None:
    """Make a token, and print it once: it is stored as a digest only."""
    from ..domain.job import utcnow
    from ..operations import tokens as operations
    from ..operations.pauses import operator

    wanted = [scope.strip() for text in scopes for scope in text.split(",") if scope.strip()]
    with audited("create", f"token {name} ({', '.join(wanted)})", why) as told:
        made = operations.create(services(), name, wanted, expires_at=expires, by=operator())
        told.acted_on(1)
    if as_json:
        echo_json({"token": made.text, **made.token.as_dict(utcnow())})
        return
    say(made.text)
    until = f" until {when(made.token.expires_at)} UTC" if made.token.expires_at else ""
    say(f"It allows {', '.join(made.token.scopes)}{until}. Keep it now: it is not shown again.", err=True)


@token.command("list")
@json_option
@with_appcontext
def list_(as_json: bool) -> None:
    """List the tokens, without their secrets; ended ones for 90 days."""
    from ..domain.job import utcnow
    from ..operations import tokens as operations

    found, now = operations.listed(services()), utcnow()
    if as_json:
        echo_json([each.as_dict(now) for each in found])
    elif not found:
        say("No tokens, so the HTTP API is closed. Make one: flask jobs token create NAME --scope view")
    else:
        console().print(_listed(found, now))


@token.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@why_option
@json_option
@with_appcontext
def revoke(names: tuple[str, ...], why: str | None, as_json: bool) -> None:
    """Revoke tokens by their names or ids, at once."""
    from ..operations import tokens as operations
    from ..operations.audit import named
    from ..operations.pauses import operator

    with audited("revoke", named("token", names), why) as told:
        revoked = operations.revoke(services(), names, by=operator())
        told.acted_on(len(revoked))
    if as_json:
        echo_json([{"id": each.id, "name": each.name} for each in revoked])
        return
    for each in revoked:
        say(f"{each.name}: revoked")


def _listed(found: list[Any], now: datetime) -> Any:
    shown = table("id", ("name", {"ratio": 2}), ("scopes", {"ratio": 3, "no_wrap": False}), "state",
                  "created (UTC)", "expires (UTC)", "last used (UTC)")  # fmt: skip
    for each in found:
        times = (when(each.created_at)[:10], when(each.expires_at)[:10], when(each.used_at)[:16])
        shown.add_row(*cells([each.id, each.name, ", ".join(each.scopes), each.state(now), *times]))
    return shown


__all__ = ["token"]
