"""Tables in Markdown, which GitHub and MyST read alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`[^`]*`)")
_LINK = re.compile(r"\]\((?!https?:)([^)]+)\)")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with the columns ``head``."""
    lines = [_row(head), "|" + "---|" * len(head), *map(_row, rows)]
    return "\n".join(lines)


def plain(text: str) -> str:
    """``text`` that is no Markdown, except for what it sets in backticks."""
    parts = _CODE.split(text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<>\[\]])", r"\\\1", part) for part in parts)


def beside(text: str) -> str:
    """``text`` with links from docs/, as a page in docs/reference/ has them."""
    return _LINK.sub(r"](../\1)", text).replace("](../reference/", "](")


def code(text: str) -> str:
    """``text`` as code."""
    return f"`{text}`"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell).replace("\n", " ") for cell in cells) + " |"


__all__ = ["beside", "code", "plain", "table"]
