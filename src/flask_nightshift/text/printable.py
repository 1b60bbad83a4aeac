"""Text that others wrote, made safe to show: it can neither drive a terminal nor look like another line.

What a job, a message or a partner says may hold escape sequences, line ends, marks that turn the reading direction,
and lone surrogates, which no encoding takes (Python makes them of file names that are not UTF-8).
"""

from __future__ import annotations

import json
import re
from typing import Any

# line ends and tabs are in the first class only; then the other control characters, the marks of direction, surrogates
_OTHERS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_OTHERS}]")
_IN_LINE = re.compile(f"[\t\n{_OTHERS}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object) -> str:
    """``text`` with its control characters made visible, all but line ends and tabs."""
    return _IN_TEXT.sub(_escaped, str(text))


def in_a_line(text: object) -> str:
    """``text`` as one line: also its line ends and tabs are made visible."""
    return _IN_LINE.sub(_escaped, str(text))


def indented(text: object, by: str = "    ") -> str:
    """``printable(text)``, in which every line but the first begins with ``by``: none looks like a line of its own."""
    return printable(text).replace("\n", f"\n{by}")


def as_json(value: Any, *, ascii_only: bool = False, indent: int | None = None) -> str:
    """``value`` as JSON that every terminal and file takes; it reads back as what it was.

    What JSON does not know becomes text. ``ascii_only`` is for an output that is not UTF-8.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=str)
    return text if text.isascii() else _IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


__all__ = ["as_json", "in_a_line", "indented", "printable"]
