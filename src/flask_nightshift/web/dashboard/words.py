"""Times, durations and numbers in words, for people. All functions are pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

NONE = "\u2013"
"""What stands for a value that is not known."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES = ("bytes", "KiB", "MiB", "GiB", "TiB")


def ago(at: datetime | None, now: datetime) -> str:
    """``3 min ago``, ``in 2 h``, ``just now``; ``dashboard.js`` says the same."""
    if at is None:
        return NONE
    seconds = (now - at).total_seconds()
    if abs(seconds) < 5:
        return "just now" if seconds >= 0 else "now"
    said = coarse(abs(seconds))
    return f"{said} ago" if seconds > 0 else f"in {said}"


def coarse(seconds: float) -> str:
    """A duration in one unit: ``45 s``, ``3 min``, ``5 h``, ``12 d``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3_600:
        return f"{seconds // 60:.0f} min"
    if seconds < 48 * 3_600:
        return f"{seconds // 3_600:.0f} h"
    return f"{seconds // 86_400:.0f} d"


def duration(seconds: float | None) -> str:
    """A duration as exactly as people need it: ``< 1 ms``, ``34 ms``, ``1.24 s``, ``1 min 15 s``, ``2 h 5 min``."""
    if seconds is None:
        return NONE
    if seconds < 0:
        return f"\u2212{duration(-seconds)}"
    if 0 < seconds < 0.0005:
        return "< 1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        if left >= size or parts:
            parts.append((left // size, unit))
            left %= size
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def exact(at: datetime | None) -> str:
    """``2026-11-27 17:40:03 UTC``."""
    return NONE if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: datetime | None) -> str:
    """The time for the attribute of a ``<time>``."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")


def number(value: float | None) -> str:
    """``1,234,567``; ``0.25``."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}".rstrip("0").rstrip(".")


def compact(value: float | None) -> str:
    """``950``, ``1.2k``, ``3.4M``, for axes and badges."""
    if value is None:
        return NONE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{unit}" if abs(value) < 100 * size else f"{value / size:.0f}{unit}"
    return number(round(value, 2))


def rate(per_second: float | None) -> str:
    """``12/s``, ``30/min``, ``4/h``: in the unit in which it is a readable number."""
    if per_second is None:
        return NONE
    if per_second == 0:
        return "0/min"
    for size, unit in ((1, "s"), (60, "min"), (3_600, "h")):
        if per_second * size >= 0.995 or unit == "h":
            value = per_second * size
            return f"{value:,.0f}/{unit}" if value >= 9.95 else f"{value:.2g}/{unit}"
    return NONE


def percent(share: float | None) -> str:
    """``0.4 %``, ``12 %``; a share that is not zero is never shown as zero."""
    if share is None:
        return NONE
    value = share * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    return f"{value:.1f} %" if 0 < value < 10 else f"{value:.0f} %"


def size(count: float | None) -> str:
    """``840 bytes``, ``1.2 MiB``."""
    if count is None:
        return NONE
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g} {_SIZES[unit]}"


def short(job_id: str | None) -> str:
    """The end of an id, which tells ids of one moment apart; commands and pages take it as they take the whole."""
    if not job_id:
        return NONE
    return job_id if len(job_id) <= 12 else f"…{job_id[-8:]}"


def last_part(name: str | None) -> str:
    """A qualified name without its module: ``requests.exceptions.Timeout`` is ``Timeout``."""
    return (name or "").rpartition(".")[2]


def sentence(text: str | None) -> str:
    """``text`` with a capital letter and a full stop."""
    said = (text or "").strip()
    return said and said[0].upper() + said[1:] + ("" if said[-1] in ".!?" else ".")


FILTERS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        ago,
        coarse,
        compact,
        duration,
        exact,
        iso,
        last_part,
        number,
        percent,
        rate,
        sentence,
        short,
        size,
    )
}
"""The functions that templates have as filters."""

__all__ = ["FILTERS", "NONE", "ago", "coarse", "compact", "duration", "exact", "iso", "last_part", "number", "percent",
        "rate", "sentence", "short", "size"]  # fmt: skip
