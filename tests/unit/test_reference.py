"""The lists in docs/reference/ are those of the source; ``make reference`` writes them."""

from __future__ import annotations

import logging
import re
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree as ET

import celery
import pytest

import pictures
import refpages
from flask_nightshift.config import Settings
from flask_nightshift.logs import wording
from flask_nightshift.options import task as task_options
from refpages import markdown, sources

PAGES = refpages.pages()
_OF_CELERY = {
    "base", "bind", "compression", "delivery_mode", "exchange", "exchange_type", "immediate", "lazy", "mandatory",
    "on_replace", "pydantic", "routing_key", "serializer", "shadow_name", "shared", "store_eager_result", "throws",
}  # fmt: skip
"""Options that Celery documents, although its class of tasks lacks them."""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_is_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page], "run `make reference`"


@pytest.mark.parametrize("name", pictures.DRAWINGS)
def test_a_picture_is_up_to_date(name: str) -> None:
    drawn = pictures.DRAWINGS[name]()
    assert (pictures.FOLDER / name).read_text(encoding="utf-8") == drawn, "run `make pictures`"
    ET.fromstring(drawn)


def test_each_list_has_one_page() -> None:
    found = [name for text in PAGES.values() for name in refpages.places(text)]
    assert sorted(found) == sorted(refpages.LISTS)


def test_the_lists_are_whole() -> None:
    """What a reader of the source could miss: the lists are compared with what else knows the names."""
    settings = re.findall(r"^\| `NIGHTSHIFT_(\w+)`", refpages.LISTS["settings"](), re.MULTILINE)
    assert settings == [field.name.upper() for field in fields(Settings)]
    source = (sources.SOURCE / "flask_nightshift/observe/metrics.py").read_text(encoding="utf-8")
    metrics = re.findall(r"^\| `(nightshift_\w+)`", refpages.LISTS["metrics"](), re.MULTILINE)
    assert {name.removesuffix("_total") for name in metrics} == set(
        re.findall(r"\"(nightshift_\w+)\"", source)
    )
    events = re.findall(r"^\| `([a-z_]+\.[a-z_]+)`", refpages.LISTS["log-events"](), re.MULTILINE)
    assert len(events) == len(set(events))
    assert set(re.findall(r"\"(job\.\w+)\"", Path(wording.__file__).read_text())) <= set(events)


def test_each_event_has_a_level() -> None:
    for told in sources.told():
        if told.events:
            assert told.levels, told
            assert all(isinstance(getattr(logging, level), int) for level in told.levels)


def test_the_reference_describes_every_option_of_a_task_that_is_ours() -> None:
    page = (refpages.FOLDER.parent / "reference.md").read_text(encoding="utf-8")
    chapter = page.partition("\n## Task options\n")[2].partition("\n## ")[0]
    ours = {name for name in task_options._ONE_TASK if not hasattr(celery.Task, name)} - _OF_CELERY
    assert {"unique", "durable", "tags"} <= ours
    assert {name for name in ours if f"`{name}`" not in chapter} == set()


def test_text_of_the_source_is_no_markdown() -> None:
    assert (
        markdown.plain("jobs of mail.* [default: `a*b`] <ID>") == r"jobs of mail.\* \[default: `a*b`\] \<ID\>"
    )
    assert markdown.table(("a",), [("x|y",)]).splitlines()[-1] == r"| x\|y |"
