"""The settings, from their declarations (``config/settings.py``)."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

from flask_nightshift.config import Settings
from flask_nightshift.config.setting import words_of
from flask_nightshift.config.settings import PREFIX, declarations

from .markdown import beside, code
from .markdown import table as table_of


def table() -> str:
    """A row for each setting: key, default, meaning."""
    return table_of(("key", "default", "meaning"), map(_row, fields(Settings)))


def _row(field: Field[Any]) -> tuple[str, str, str]:
    words = words_of(declarations()[field.name])
    return code(PREFIX + field.name.upper()), words.default or _shown(field), beside(words.meaning)


def _shown(field: Field[Any]) -> str:
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value in (None, "", ()):
        return "none"
    return code(f"{value:g}" if isinstance(value, float) else f"{value}")


__all__ = ["table"]
