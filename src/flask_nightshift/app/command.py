"""``flask jobs`` as a command of the app itself, for ``app.test_cli_runner().invoke(args=["jobs", …])``.

The command ``flask`` finds it by its entry point. The app's own group, which a test runner invokes, does not look
there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
from flask import Flask

NAME = "jobs"


class LateCommand(click.Command):
    """The group of commands, which is imported at its first use: no app needs it."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """The context of the group, which then runs in place of this command."""
        group: click.Command = import_module("flask_nightshift.cli").jobs
        return group.make_context(*args, **options)


def add(app: Flask) -> None:
    """Add it, unless the app has a command of that name."""
    if NAME not in app.cli.commands:
        app.cli.add_command(LateCommand(NAME, short_help="Run, watch and repair background jobs."))


__all__ = ["add"]
