"""Runs several ``flask jobs`` commands in one process; each argument is a JSON list with the words of one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points

import click

from .app import create_app


def group() -> click.Group:
    """``flask jobs``, found as Flask finds it."""
    (found,) = entry_points(group="flask.commands", name="jobs")
    return found.load()


def walk(command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """``command`` and all below it, each in the context of its call, as on a terminal of 100 columns."""
    name = f"flask {command.name}" if parent is None else command.name
    context = click.Context(command, parent=parent, info_name=name, terminal_width=100, max_content_width=100)
    yield context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from walk(below, context)


def main() -> None:
    runner = create_app().test_cli_runner()
    told = []
    for words in map(json.loads, sys.argv[1:]):
        done = runner.invoke(group(), words)
        # a thread looks for queues that nobody hears, sooner or later than the command ends
        error = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("queue.unheard"))
        told.append({"exit": done.exit_code, "output": done.stdout, "error": error})
    print(json.dumps(told))


if __name__ == "__main__":
    main()
