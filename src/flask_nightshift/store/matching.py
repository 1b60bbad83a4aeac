"""Whether a column fits a pattern of names (``text/patterns.py``), in SQL."""

from __future__ import annotations

import re
from typing import Any, cast

from sqlalchemy import ColumnElement, and_, func, literal, or_

from ..text import patterns
from .types import SafeText


def fits(column: Any, pattern: str) -> ColumnElement[bool]:
    """Whether ``column`` fits ``pattern``; a pattern without ``*`` is compared as a whole.

    SQLite's LIKE does not tell upper from lower case. So the column must begin, end and contain what the pattern says,
    too, by functions that do.
    """
    if patterns.is_literal(pattern):
        return cast("ColumnElement[bool]", column == patterns.literal(pattern))
    parts = patterns.parts(pattern)
    found = [column.like(_for_like(pattern), escape="\\")]
    found += [func.replace(column, _text(part), _text("")) != column for part in parts if part]
    if first := parts[0]:
        found.append(func.substr(column, 1, func.length(_text(first))) == _text(first))
    if last := parts[-1]:
        begin = func.length(column) - func.length(_text(last)) + 1
        found.append(func.substr(column, begin) == _text(last))
    return and_(*found)


def fits_one(column: Any, wanted: tuple[str, ...]) -> ColumnElement[bool]:
    """Whether ``column`` fits one of these patterns, in upper or lower case."""
    return or_(*(func.lower(column).like(func.lower(_for_like(each)), escape="\\") for each in wanted))


def _for_like(pattern: str) -> Any:
    parts = patterns.parts(pattern)
    return _text("".join("%" if part is None else re.sub(r"([\\%_])", r"\\\1", part) for part in parts))


def _text(text: str) -> Any:
    return literal(text, SafeText())


__all__ = ["fits", "fits_one"]
