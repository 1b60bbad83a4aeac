r"""Patterns of names: ``*`` stands for any text, ``\*`` for a star and ``\\`` for a backslash; the rest for itself."""

from __future__ import annotations

import re

_PARTS = re.compile(r"\\([*\\])|(\*)|(.)", re.DOTALL)


def exactly(name: str) -> str:
    """The pattern of ``name`` and nothing else."""
    return name.replace("\\", "\\\\").replace("*", "\\*")


def parts(pattern: str) -> list[str | None]:
    """The literal texts of ``pattern``, with None for each ``*``."""
    found: list[str | None] = []
    for escaped, star, literal in _PARTS.findall(pattern):
        if star:
            if not found or found[-1] is not None:
                found.append(None)
        elif found and (last := found[-1]) is not None:
            found[-1] = last + (escaped or literal)
        else:
            found.append(escaped or literal)
    return found


def is_literal(pattern: str) -> bool:
    """Whether one name alone fits ``pattern``."""
    return None not in parts(pattern)


def literal(pattern: str) -> str:
    """The name that alone fits ``pattern``, which has no wildcard."""
    return "".join(part or "" for part in parts(pattern))


def fits(name: str, pattern: str) -> bool:
    """Whether ``name`` fits ``pattern``."""
    made = "".join(".*" if part is None else re.escape(part) for part in parts(pattern))
    return re.fullmatch(made, name, re.DOTALL) is not None


__all__ = ["exactly", "fits", "is_literal", "literal", "parts"]
