"""The traces of jobs in broker, database, logs, terminal and metrics do not change, on each kind of broker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from .brokers import Rabbit, Redis
from .commands import group, walk
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


def _is_a_command(word: str) -> bool:
    return word[0] not in "{-"


def test_every_command_that_writes_json_is_in_the_story() -> None:
    writing = {
        tuple(context.command_path.split()[2:])
        for context in walk(group())
        if any(parameter.name == "as_json" for parameter in context.command.params)
    }
    told = [words for words in COMMANDS.values() if "--json" in words]
    assert writing == {tuple(itertools.takewhile(_is_a_command, words[:2])) for words in told}
