"""The commands, from what ``flask jobs … --help`` says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from flask_nightshift.cli import jobs

from .markdown import code, plain, table


def chapters() -> str:
    """The list of commands, and a chapter for each."""
    found = list(_walk(jobs, click.Context(jobs, info_name="flask jobs")))
    top = [context for context in found if context.parent is not None and context.parent.parent is None]
    rows = [(f"[`{each.command_path}`](#{_slug(each)})", plain(_summary(each))) for each in top]
    return "\n\n".join([table(("command", "purpose"), rows), *map(_chapter, found[1:])])


def _walk(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from _walk(below, click.Context(below, parent=context, info_name=name))


def _chapter(context: click.Context) -> str:
    depth = len(context.command_path.split()) - 1
    command = context.command
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [
        f"{'#' * depth} {context.command_path}",
        _help(command),
        f"```text\n{' '.join(usage.split())}\n```",
    ]
    given = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    options = [record for each in given if (record := each.get_help_record(context))]
    if rows := [(code(names), plain(" ".join(text.split()))) for names, text in options if names != "--help"]:
        parts.append(table(("option", "meaning"), rows))
    return "\n\n".join(parts)


def _help(command: click.Command) -> str:
    return plain(inspect.cleandoc(command.help or "").replace("\b\n", ""))


def _summary(context: click.Context) -> str:
    return " ".join(inspect.cleandoc(context.command.help or "").split("\n\n")[0].split())


def _slug(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


__all__ = ["chapters"]
