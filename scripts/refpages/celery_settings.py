"""How each of Celery's settings is treated, from the tables of ``config/celery_settings.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flask_nightshift.config import celery_settings as declared

from .markdown import code
from .markdown import table as table_of


def table() -> str:
    """A row for each treatment, with the settings that share it."""
    return table_of(("setting", "treatment"), _rows())


def _rows() -> Iterator[tuple[str, str]]:
    yield _names(declared.OF_TASKS), "honoured for every task that does not set the option itself"
    for why, names in _by_reason(declared.MERGED):
        yield names, f"merged: {why}"
    for why, names in _by_reason(declared.REFUSED):
        yield names, f"refused: {why}"
    for (value, why), names in _by_reason(declared._FIXED):
        yield names, f"only `{value!r}`, which is always the case: {why}"
    others = "all others, and the settings of result backends (`redis_…`, `database_…`, `mongodb_…`)"
    yield others, "honoured as Celery documents them"


def _by_reason(settings: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    reasons: dict[Any, list[str]] = {}
    for name in sorted(settings):
        reasons.setdefault(settings[name], []).append(name)
    return ((why, _names(names)) for why, names in reasons.items())


def _names(settings: Mapping[str, str] | list[str]) -> str:
    return ", ".join(map(code, sorted(settings)))


__all__ = ["table"]
