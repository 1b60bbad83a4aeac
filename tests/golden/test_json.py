"""Every command that does not run a process prints JSON, in a shape that is declared."""

from __future__ import annotations

from flask_nightshift.web.api.shapes.commands import OUTPUTS

from .commands import group, walk

PROCESSES = {"up", "broker", "worker", "beat", "dashboard", "mcp"}
"""The commands that run until they are stopped."""


def test_every_command_but_those_that_run_a_process_prints_json() -> None:
    found = {
        " ".join(context.command_path.split()[2:]): {parameter.name for parameter in context.command.params}
        for context in walk(group())
        if not hasattr(context.command, "commands")
        or getattr(context.command, "invoke_without_command", False)
    }
    assert {name for name, options in found.items() if "as_json" not in options} == PROCESSES
    assert set(OUTPUTS) == set(found) - PROCESSES
