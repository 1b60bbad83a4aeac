"""Numbers of things in sentences."""

from __future__ import annotations


def plural(count: int, noun: str, verb: str = "") -> str:
    """``1 job``, ``2 jobs``; with a verb in its plural form ``1 job waits``, ``2 jobs wait``."""
    many = f"{noun[:-1]}ies" if noun.endswith("try") else f"{noun}s"
    counted = f"{count} {noun}" if count == 1 else f"{count} {many}"
    return f"{counted} {verb}{'s' if count == 1 else ''}" if verb else counted


__all__ = ["plural"]
