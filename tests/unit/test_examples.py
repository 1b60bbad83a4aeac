"""Every example in the docs is run by a test, or, as a fragment, can be read and names what exists."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import refpages
from command_tree import below
from flask_nightshift.cli import jobs
from flask_nightshift.config import Settings
from flask_nightshift.config.settings import PREFIX
from flask_nightshift.logs.meanings import MEANINGS
from flask_nightshift.store.tables import metadata
from markdown_pages import pages
from places import ROOT

PAGES = [page for page in pages() if page != "CHANGELOG.md"]  # which names what was
_BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_CALL = re.compile(r"^(?:\S+=\S+ )*flask (?:--app \S+ )?jobs\b(.*)$")
_NOT_RUN = {
    "": "output, pictures made of text, keys and queries",
    "text": "output, or the syntax of a command",
    "toctree": "Sphinx reads it",
    "eval-rst": "Sphinx reads it",
}
"""What no test runs, by language, with the reason."""
_WITHOUT_A_TEST: dict[str, str] = {}
"""Pages whose Python is a fragment, with the reason."""


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of each block of code."""
    for _, language, text in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        yield language.strip("{}"), text


@cache
def readers_of_python() -> dict[str, str]:
    """The test modules that take the Python out of a page, with their text."""
    files = (path for path in ROOT.joinpath("tests").rglob("*.py") if path != Path(__file__))
    texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    return {name: text for name, text in texts.items() if "```python" in text}


def is_run(page: str) -> bool:
    """Whether a test takes the Python out of ``page``: by ``blocks(page)``, or in a module of its own."""
    ways = {"test_docs.py": rf"blocks\(\"{re.escape(page)}\"\)"}
    named = rf"[\"/]{re.escape(Path(page).name)}\""
    return any(re.search(ways.get(name, named), text) for name, text in readers_of_python().items())


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_is_run_by_a_test(page: str) -> None:
    found = [text for language, text in blocks(page) if language == "python"]
    for text in found:
        ast.parse(text)
    if found and page not in _WITHOUT_A_TEST:
        assert is_run(page), "no test runs its Python: see tests/integration/test_docs.py"


@pytest.mark.parametrize("page", PAGES)
def test_other_blocks_of_a_page_can_be_read(page: str) -> None:
    readers: dict[str, Callable[[str], Any]] = {
        "yaml": lambda text: list(yaml.safe_load_all(text)),
        "json": json.loads,
        "ini": lambda text: configparser.ConfigParser(strict=False, interpolation=None).read_string(text),
        "toml": tomllib.loads,
        "python": ast.parse,
        "console": lambda text: None,  # below
    }
    for language, text in blocks(page):
        if not language:
            assert not re.search(r"^\$ ", text, re.MULTILINE), (
                "commands belong into a block of the language console"
            )
        if language not in _NOT_RUN:
            assert language in readers, f"no test looks at {language!r}: give it a reader here"
            readers[language](text)


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_exist(page: str) -> None:
    for line in commands(page):
        if found := _CALL.match(line):
            check_call(found[1].replace("…", " ").replace("...", " "))
        elif line.startswith("make "):
            for target in (
                word for word in shlex.split(line, comments=True)[1:] if "=" not in word and word != "…"
            ):
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        for extras in re.findall(r"Flask-Nightshift\[([\w,]+)\]", line):
            assert set(extras.split(",")) <= extras_of_ours(), line


_NAMES_OF_OTHERS = {"nightshift_wished_workers", "nightshift_app", "nightshift_jobs", "job.meta", "outbox.py"}
"""Names that look like ours: of the autoscaler's example, of fixtures, of RQ, of a file."""


@pytest.mark.parametrize("page", PAGES)
def test_settings_metrics_tables_and_events_of_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    keys = set(re.findall(r"NIGHTSHIFT_[A-Z_]*[A-Z]", text))
    assert keys - {PREFIX + field.name.upper() for field in fields(Settings)} == set()
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bnightshift_[a-z_]+", text)}
    assert named - metrics() - set(metadata.tables) - _NAMES_OF_OTHERS == set()
    subjects = {event.partition(".")[0] for event in MEANINGS}
    events = {name for name in _INLINE.findall(text) if re.fullmatch(r"[a-z_]+\.[a-z_]+", name)}
    assert {name for name in events if name.partition(".")[0] in subjects} - set(MEANINGS) <= _NAMES_OF_OTHERS


@cache
def metrics() -> set[str]:
    return set(re.findall(r"`(nightshift_\w+)`", refpages.LISTS["metrics"]()))


def commands(page: str) -> Iterator[str]:
    for language, text in blocks(page):
        if language == "console":
            yield from (
                line.removeprefix("$ ").strip() for line in text.splitlines() if line.startswith("$ ")
            )
    yield from _INLINE.findall(_BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8")))


def check_call(call: str) -> None:
    try:
        words = shlex.split(call, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        words = call.split()
    command: click.Command = jobs
    while words and isinstance(command, click.Group):
        name = words[0]
        if name not in below(command):
            assert command.invoke_without_command or not re.fullmatch(r"[a-z-]+", name), f"flask jobs{call}"
            break
        command = below(command)[words.pop(0)]
    if command.ignore_unknown_options:
        return
    known = {option for each in command.params for option in each.opts} | {"--help"}
    given = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    assert given <= known, f"flask jobs{call}"


@cache
def extras_of_ours() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
