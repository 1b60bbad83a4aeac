"""The commands of ``flask jobs`` are imported late."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from flask_nightshift.cli import jobs
from flask_nightshift.cli.base import JobsGroup


@pytest.fixture
def group() -> JobsGroup:
    return JobsGroup("jobs", places=jobs._places)


def test_a_command_is_imported_alone(group: JobsGroup) -> None:
    assert CliRunner().invoke(group, ["health", "--help"]).exit_code == 0
    assert [*group.commands] == ["health"]


def test_every_command_has_the_name_under_which_it_is_found(group: JobsGroup) -> None:
    context = click.Context(group)
    names = group.list_commands(context)
    assert [each.name for name in names if (each := group.get_command(context, name))] == names


@pytest.mark.skipif(not hasattr(click, "NoSuchCommand"), reason="this click suggests no commands")
def test_a_mistyped_command_is_answered_with_those_that_may_be_meant(group: JobsGroup) -> None:
    done = CliRunner().invoke(group, ["workr"])
    assert done.exit_code == 2
    assert "'worker'" in done.output
