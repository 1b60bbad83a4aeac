"""Checks names of queues; the rules are the same for every broker."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ConfigurationError


def queue_name(key: str, value: Any) -> str:
    """``value``, checked as the name of a queue; raises ``ConfigurationError``, which names ``key``."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:-]{1,200}", value):
        raise ConfigurationError(key, value, "a queue name is 1 to 200 letters, digits and . _ : -")
    if value.startswith(("nightshift.", "celery_delayed")):
        raise ConfigurationError(
            key, value, "names starting with 'nightshift.' or 'celery_delayed' are reserved"
        )
    return value


def queue_names(key: str, value: Any) -> tuple[str, ...]:
    """The names in ``value``, a list or a comma-separated text; raises ``ConfigurationError``, which names ``key``."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple, set, frozenset)):
        raise ConfigurationError(key, value, "give a list of queue names, or names with commas between")
    return tuple(queue_name(key, name) for name in names)


__all__ = ["queue_name", "queue_names"]
