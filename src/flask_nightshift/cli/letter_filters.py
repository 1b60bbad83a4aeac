"""The dead letters that a command is about: options for conditions, and what ids or conditions mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..domain.job import Reason
from .base import Moment

if TYPE_CHECKING:
    from ..operations.dead_letters import Filters
    from ..services import Services

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--fingerprint", metavar="HEX", help="Those that died of the same cause."),
    click.option("--since", type=Moment(), help="Died since: 2h, 30m, 7d, or an ISO time (UTC)."),
    click.option("--reason", type=click.Choice(list(map(str, Reason))), help="Why they died."),
    click.option("--task", help="Of this task."),
)


def filter_options(command: F) -> F:
    """Give ``command`` the options that are conditions."""
    for option in _OPTIONS:
        command = option(command)
    return command


def chosen(
    current: Services, wanted: tuple[str, ...], everything: bool, conditions: dict[str, Any]
) -> Filters:
    """Filters for the letters with the ids ``wanted``, for those that meet ``conditions``, or for all that wait."""
    from ..operations import dead_letters

    ways = [bool(wanted), everything, any(value is not None for value in conditions.values())]
    if sum(ways) != 1:
        raise click.UsageError(
            "Name dead letters by their ids, or by filters (--task, --since, …), or say --all."
        )
    if wanted:
        return dead_letters.named(current, wanted)
    filters = dead_letters.Filters(**conditions)
    dead_letters.check(current, filters)
    return filters


def about(filters: Filters) -> str:
    """What a command with ``filters`` is about, for the audit."""
    from ..operations.audit import matching, named

    if filters.ids:
        return named("dead letter", filters.ids)
    return matching("dead letters", {**asdict(filters), "status": None})


__all__ = ["about", "chosen", "filter_options"]
