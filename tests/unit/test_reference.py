"""The tables of docs/reference.md match the declarations in the source."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.config import Settings
from flask_nightshift.config.setting import words_of
from flask_nightshift.config.settings import PREFIX, declarations

REFERENCE = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_a_setting_has_the_row_of_its_declaration(field: Field[Any]) -> None:
    words = words_of(declarations()[field.name])
    row = f"| `{PREFIX}{field.name.upper()}` | {words.default or _shown(field)} | {words.meaning} |"
    assert row in REFERENCE.splitlines()


def test_the_reference_lists_the_settings_in_their_order() -> None:
    listed = re.findall(rf"^\| `{PREFIX}(\w+)`", REFERENCE, re.MULTILINE)
    assert listed == [field.name.upper() for field in fields(Settings)]


def _shown(field: Field[Any]) -> str:
    """The default of a setting, as the reference shows it."""
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value in (None, "", ()):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
