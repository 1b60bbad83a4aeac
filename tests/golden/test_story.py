"""The traces of jobs in broker, database, logs, terminal and metrics do not change, on each kind of broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from msgspec import ValidationError, convert

from flask_nightshift.web.api.shapes.commands import OUTPUTS

from .brokers import Rabbit, Redis
from .conftest import Golden
from .story import COMMANDS, Story

VIEWS: dict[str, Any] = {"valkey": Redis, "rabbitmq": Rabbit}


@pytest.fixture(params=VIEWS, scope="module")
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    server = request.getfixturevalue(request.param)
    url = server.fresh_url()
    with (
        closing(VIEWS[request.param](server, url)) as view,
        closing(Story(tmp_path_factory.mktemp("story"), url, view)) as lived,
    ):
        lived.live()
        yield lived


@pytest.mark.parametrize(
    "part", ["messages", "entities", "dead-letter-row", "commands", "log-events", "http"]
)
def test_traces_do_not_change(
    story: Story, part: str, request: pytest.FixtureRequest, golden: Golden
) -> None:
    broker = request.node.callspec.params["story"]
    seen = {f"{broker}/{name}": value for name, value in story.seen.items() if name.startswith(part)}
    assert seen
    golden(seen)


def test_what_commands_print_has_the_shape_of_the_page(story: Story) -> None:
    assert len(story.printed) > 30
    for name, value in story.printed.items():
        shapes = [output.shape for output in OUTPUTS[_command(COMMANDS[name])]]
        assert any(_fits(value, shape) for shape in shapes), (name, value, shapes)


def _fits(value: Any, shape: Any) -> bool:
    try:
        convert(value, shape)
    except ValidationError as exc:
        print(exc)
        return False
    return True


def _command(words: list[str]) -> str:
    """The words that name the command."""
    return next(name for name in (" ".join(words[:2]), words[0]) if name in OUTPUTS)


def test_every_command_that_writes_json_is_in_the_story() -> None:
    assert {_command(words) for words in COMMANDS.values() if "--json" in words} == set(OUTPUTS)
