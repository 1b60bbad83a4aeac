"""What an error says for people."""

from __future__ import annotations

from .passwords import hide_password


def told(exc: BaseException) -> str:
    """The text of ``exc`` with its notes and without passwords; the name of its type if it has no text."""
    said, notes = str(exc) or type(exc).__name__, getattr(exc, "__notes__", ())
    return hide_password(" ".join([f"{said.rstrip('.')}.", *notes]) if notes else said)


__all__ = ["told"]
