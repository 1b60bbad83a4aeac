"""Durations in words."""

from __future__ import annotations

from datetime import timedelta


def span(length: timedelta) -> str:
    """A duration in words: ``12 s``, ``3 min``, ``2 h``, ``5 days``."""
    seconds = max(0.0, length.total_seconds())
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} days"


__all__ = ["span"]
