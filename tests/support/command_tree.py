"""The commands of a click group, which may be imported only when they are asked for."""

from __future__ import annotations

import click


def below(group: click.Group) -> dict[str, click.Command]:
    """The commands of ``group``, by their names."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}
