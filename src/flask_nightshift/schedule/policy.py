"""The keys of an entry that say how it treats its ticks: ``catch_up``, ``timezone``, ``jitter`` and ``overlap``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from celery.schedules import BaseSchedule, crontab

from ..errors import ConfigurationError
from ..options.of_tasks import UNIQUE
from . import crontabs
from .due import ALL, ONCE, SKIP
from .timing import Custom, timing_of

KEYS = ("catch_up", "timezone", "jitter", "overlap")
CATCH_UP = (SKIP, ONCE, ALL)
OVERLAP = "skip"
"""The value of ``overlap``: a tick enqueues nothing while the job of an earlier one is waiting or running."""
LONGEST_JITTER = 86_400.0
"""Maximum jitter in seconds."""


def checked(key: str, given: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The policy of an entry whose other keys are checked; raises ``ConfigurationError``. ``key`` names the entry."""
    found: dict[str, Any] = {}
    zone = _zone(f"{key}['timezone']", given.get("timezone"), entry["schedule"])
    if zone is not None:
        found["timezone"] = zone
    if (catch_up := given.get("catch_up")) is not None:
        found["catch_up"] = _catch_up(f"{key}['catch_up']", catch_up, entry)
    if (jitter := given.get("jitter")) is not None:
        found["jitter"] = _jitter(f"{key}['jitter']", jitter, entry["options"])
    if (overlap := given.get("overlap")) is not None:
        if overlap != OVERLAP:
            raise ConfigurationError(f"{key}['overlap']", overlap, "give 'skip', or leave it out")
        _refuse_two_locks(f"{key}['overlap']", overlap, entry["options"])
        found["overlap"] = overlap
    return found


def check_overlap(key: str, entry: Mapping[str, Any], task: Any) -> None:
    """Raise ``ConfigurationError`` if ``task`` (None: unknown here) cannot have the lock of ``overlap``."""
    if not entry.get("overlap") or task is None:
        return
    if getattr(task, "unique", None):
        why = f"the task {entry['task']!r} is unique and has a lock of its own; set one of the two"
        raise ConfigurationError(f"{key}['overlap']", entry["overlap"], why)
    if getattr(task, "acks_late", True) is False:
        why = f"the task {entry['task']!r} has acks_late=False, so a crash of its worker would leave the lock"
        raise ConfigurationError(f"{key}['overlap']", entry["overlap"], why)


def _zone(key: str, value: Any, when: BaseSchedule | timedelta) -> tzinfo | None:
    if value is None:
        return None
    zone = _named(key, value)
    if not isinstance(when, crontab):
        raise ConfigurationError(key, value, "only a crontab has a time zone; this schedule is none")
    if not crontabs.knows(when):
        raise ConfigurationError(key, value, "this crontab has a class or a clock of its own, which decides")
    return zone


def _named(key: str, value: Any) -> tzinfo:
    if crontabs.distinguishes(value):
        zone: tzinfo = value
        return zone
    if isinstance(value, str):
        try:
            return ZoneInfo(value)
        except (KeyError, OSError, ValueError):
            near = difflib.get_close_matches(value, available_timezones(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            allowed = f"give the name of a time zone, such as 'Europe/Berlin'{hint}"
            raise ConfigurationError(key, value, allowed) from None
    raise ConfigurationError(
        key, value, "give the name of a time zone, such as 'Europe/Berlin', or a ZoneInfo"
    )


def _catch_up(key: str, value: Any, entry: Mapping[str, Any]) -> str:
    if value not in CATCH_UP:
        raise ConfigurationError(key, value, f"give one of {', '.join(map(repr, CATCH_UP))}")
    if value != ONCE and _is_custom(entry):
        why = "this schedule depends on its last run, so Beat cannot tell which ticks it missed; give 'once'"
        raise ConfigurationError(key, value, why)
    return str(value)


def _is_custom(entry: Mapping[str, Any]) -> bool:
    when = entry["schedule"]
    if isinstance(when, timedelta):
        return bool(entry.get("relative"))
    if isinstance(when, crontab):
        return not crontabs.knows(when)
    return isinstance(timing_of(when), Custom)


def _jitter(key: str, value: Any, options: Mapping[str, Any]) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= LONGEST_JITTER:
        raise ConfigurationError(key, value, f"give seconds from 0 to {LONGEST_JITTER:g}")
    if options.get("eta") is not None:
        raise ConfigurationError(key, value, "the options have an eta, which says when the job starts")
    expires = options.get("expires")
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    if isinstance(expires, (int, float)) and expires <= value:
        why = f"with expires={expires!r} in the options, the job could expire before it starts"
        raise ConfigurationError(key, value, why)
    return float(value)


def _refuse_two_locks(key: str, value: str, options: Mapping[str, Any]) -> None:
    for name in UNIQUE:
        if options.get(name) is not None:
            raise ConfigurationError(
                key, value, f"the options have {name}, which makes another lock; set one of the two"
            )


__all__ = ["CATCH_UP", "KEYS", "OVERLAP", "check_overlap", "checked"]
