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
from flask_nightshift.logs.meanings import CELERYS, MEANINGS
from flask_nightshift.options.of_tasks import OPTIONS
from flask_nightshift.task.base import JobTask
from refpages import markdown, sources

PAGES = {path: text for path in refpages.PATHS if refpages.places(text := path.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def written() -> dict[Path, str]:
    return refpages.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_is_up_to_date(page: Path, written: dict[Path, str]) -> None:
    assert PAGES[page] == written[page], "run `make reference`"


@pytest.mark.parametrize("name", pictures.DRAWINGS)
def test_a_picture_is_up_to_date(name: str) -> None:
    drawn = pictures.DRAWINGS[name]()
    assert (pictures.FOLDER / name).read_text(encoding="utf-8") == drawn, "run `make pictures`"
    ET.fromstring(drawn)


def test_each_list_has_one_page(written: dict[Path, str]) -> None:
    assert written.keys() == PAGES.keys()
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


def test_every_event_has_a_sentence_and_every_sentence_an_event() -> None:
    events = {name for told in sources.told() for name in told.events}
    assert sorted(events - set(MEANINGS)) == [], "write what they mean in logs/meanings.py"
    assert sorted(set(MEANINGS) - events) == [], "nothing logs these: delete them from logs/meanings.py"
    assert [name for name, meaning in MEANINGS.items() if not _is_a_sentence(meaning)] == []


def test_every_line_has_an_event_or_the_words_of_celery() -> None:
    nameless = {told.text for told in sources.told() if not told.events and told.text}
    assert sorted(nameless) == sorted(CELERYS), "name the event: `noun.verb`, with fields"
    assert [text for text, meaning in CELERYS.items() if not _is_a_sentence(meaning)] == []


def test_every_option_of_the_task_class_is_declared_with_a_sentence() -> None:
    plain = {name for name, value in vars(JobTask).items() if not (name.startswith("_") or callable(value))}
    assert plain - set(OPTIONS) == {"Request", "abstract", "job_queue", "policy"} - set(OPTIONS)
    celerys = {name for name, _ in celery.Task.from_config}
    assert celerys <= set(OPTIONS)
    assert [name for name, option in OPTIONS.items() if not _is_a_sentence(option.meaning)] == []


def test_every_endpoint_has_a_sentence() -> None:
    for name in ("http-endpoints", "http-api", "dashboard"):
        _, _, *rows = refpages.LISTS[name]().splitlines()
        assert len(rows) > 3
        assert [row for row in rows if not row.endswith((". |", "? |"))] == [], name


def _is_a_sentence(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Z`].*\.", text)) and "  " not in text


def test_text_of_the_source_is_no_markdown() -> None:
    assert (
        markdown.plain("jobs of mail.* [default: `a*b`] <ID>") == r"jobs of mail.\* \[default: `a*b`\] \<ID\>"
    )
    assert markdown.table(("a",), [("x|y",)]).splitlines()[-1] == r"| x\|y |"
