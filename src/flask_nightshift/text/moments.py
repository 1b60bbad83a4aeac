"""Times as people write them: ``30m``, ``2h``, ``7d`` before now, or ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EXAMPLES = "write 2h, 30m, 7d or 2026-01-31T08:00"

_DURATION = re.compile(r"(\d+)([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str, now: datetime) -> datetime:
    """The aware time that ``text`` means: so long before ``now``, or an ISO time (UTC unless it has an offset).

    Raises ``ValueError`` with a sentence that names the text and what is allowed.
    """
    try:
        return _moment(text, now)
    except OverflowError:
        raise ValueError(f"{text!r} is further away than a calendar reaches") from None
    except ValueError:
        raise ValueError(f"{text!r} is not a time; {EXAMPLES}") from None


def _moment(text: str, now: datetime) -> datetime:
    if span := _DURATION.fullmatch(text):
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
    return _iso(text)


def iso_time(text: str) -> datetime | None:
    """The ISO time ``text`` in UTC (which it means without an offset); None if it is none, or beyond the calendar."""
    try:
        return _iso(text)
    except (ValueError, OverflowError):
        return None


def _iso(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


__all__ = ["EXAMPLES", "iso_time", "moment"]
