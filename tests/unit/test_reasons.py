"""Whoever changes something can say why: on the pages, over HTTP and in a terminal."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from command_tree import below
from flask_nightshift.cli import jobs
from flask_nightshift.web.api import routing as api
from flask_nightshift.web.dashboard import rendering, routing
from flask_nightshift.web.dashboard.routing import Kind

WAYS_OUT = {"leave"}
"""Actions that change nothing but a session."""


def commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for word, command in below(group).items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}".strip(), command


def test_every_action_of_the_pages_takes_a_reason() -> None:
    routing.table()
    forms = [text for path in Path(rendering.__file__).parent.glob("templates/*.html")
             if '"why"' in (text := path.read_text()) or "edit_fields.html" in text]  # fmt: skip
    for name, route in routing.ROUTES.items():
        if route.kind is not Kind.ACTION or name in WAYS_OUT or route.asks is not None:
            continue
        posts = (f'"{name}"', f'"{name.partition("_")[0]}_" ~ verb')
        pages = (Path(rendering.__file__).parent / "pages").glob("*.py")
        asked = any(f'post="{name}"' in path.read_text() for path in pages)
        assert asked or any(each in text for text in forms for each in posts), f"{name} takes no reason"


def test_every_action_over_http_takes_a_reason() -> None:
    for name, route in api.routes().items():
        if route.acts:
            assert route.body is not None
            assert "why" in route.body.__struct_fields__, f"{name} takes no reason"


@pytest.mark.parametrize(
    ("name", "command"), list(commands(jobs)), ids=lambda each: each if isinstance(each, str) else ""
)
def test_every_command_that_is_recorded_takes_a_reason(name: str, command: click.Command) -> None:
    assert command.callback is not None
    source = inspect.getsource(inspect.unwrap(command.callback))
    records = "audited(" in source or "start_bulk(" in source
    options = {text for each in command.params for text in each.opts}
    assert records <= ("--why" in options), f"flask jobs {name} takes no reason"
    if "--why" in options and "--reason" not in options:
        (why,) = [each for each in command.params if "--why" in each.opts]
        with click.Context(command) as context, pytest.raises(click.BadParameter, match="use at most 500"):
            why.process_value(context, "x" * 501)
        assert why.process_value(context, "x" * 500) == "x" * 500
