"""Make text from others safe to show: it can neither control a terminal nor look like another line.

The text of a job, a message or a partner may contain escape sequences, line ends, marks that change the reading
direction, and lone surrogates, which no encoding accepts (Python makes them from file names that are not UTF-8).
"""

from __future__ import annotations

import json
import re
from typing import Any

# the first class adds line ends and tabs to the other control characters, direction marks and surrogates
_OTHERS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_OTHERS}]")
_IN_LINE = re.compile(f"[\t\n{_OTHERS}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: object) -> str:
    """``text`` with all control characters except line ends and tabs made visible."""
    return _IN_TEXT.sub(_escaped, str(text))


def in_a_line(text: object) -> str:
    """``text`` as one line, with line ends and tabs made visible too."""
    return _IN_LINE.sub(_escaped, str(text))


def indented(text: object, by: str = "    ") -> str:
    """``printable(text)`` with every line but the first indented by ``by``, so that none looks like a separate line."""
    return printable(text).replace("\n", f"\n{by}")


def as_json(value: Any, *, ascii_only: bool = False, indent: int | None = None) -> str:
    """``value`` as JSON that every terminal and file accepts; reading it gives the same value.

    Values that JSON does not know become text. ``ascii_only`` is for an output that is not UTF-8.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, default=str)
    return text if text.isascii() else _IN_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


__all__ = ["as_json", "in_a_line", "indented", "printable"]
