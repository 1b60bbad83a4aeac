"""The kinds of values that options take: what each accepts, and the words for it in an error. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

LONGEST = 2**28 - 1
"""Seconds (8.5 years): the longest delay that RabbitMQ can hold; the limit on every broker, so apps can switch."""
MOST_RETRIES = 1_000_000
MOST_PRIORITY = 255
MOST_BYTES = 255
"""The maximum length of a name in AMQP."""
MOST_TAGS = 10
"""The maximum number of tags of a job; each is a row in the history."""
LONGEST_TAG = 64
"""Characters."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The allowed values of an option: ``accepts`` tests a value, ``allowed`` describes them in an error."""

    allowed: str
    accepts: Callable[[Any], bool]


def always(value: object, why: str) -> Kind:
    """The kind of an option that has only one effect, whatever is given: it accepts ``value``, and None."""
    return Kind(f"give {value!r}, or leave it out: {why}", lambda given: given is None or given is value)


def or_none(kind: Kind, meaning: str) -> Kind:
    """``kind`` that also allows None, which means ``meaning``."""
    return Kind(f"{kind.allowed}, or None {meaning}", lambda value: value is None or kind.accepts(value))


def is_number(value: object, low: float, high: float) -> bool:
    """Whether ``value`` is a number from ``low`` to ``high``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_seconds(value: object) -> bool:
    """Whether ``value`` is a number of seconds from 0 to ``LONGEST``."""
    return is_number(value, 0, LONGEST)


def is_count(value: object) -> bool:
    """Whether ``value`` is a whole number from 0 to ``MOST_RETRIES``."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_RETRIES


def is_name(value: object) -> bool:
    """Whether ``value`` is a text of 1 to ``MOST_BYTES`` bytes."""
    if not isinstance(value, str):
        return False
    try:
        return 0 < len(value.encode()) <= MOST_BYTES
    except UnicodeEncodeError:
        return False


def is_rate(value: object) -> bool:
    """Whether it is a rate limit in Celery's format: ``10``, ``"10/s"``, ``"1.5/m"``, ``"100/h"``."""
    return is_number(value, 0, math.inf) or (
        isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?(/[smh])?", value) is not None
    )


def are_tags(value: object) -> bool:
    """Whether it is a collection of at most ``MOST_TAGS`` short texts."""
    return (
        isinstance(value, (list, tuple, set, frozenset))
        and len(value) <= MOST_TAGS
        and all(
            isinstance(tag, str) and 0 < len(tag) <= LONGEST_TAG and tag.isprintable() and tag == tag.strip()
            for tag in value
        )
    )


def _are_errors(value: object) -> bool:
    return isinstance(value, (tuple, list, set, frozenset)) and all(
        isinstance(each, type) and issubclass(each, BaseException) for each in value
    )


def _is_date(value: object) -> bool:
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return False
        return True
    return isinstance(value, datetime)


SECONDS = Kind(f"give seconds, from 0 to {LONGEST}", is_seconds)
LIMIT = or_none(SECONDS, "for no limit")
COUNT = Kind(f"give a whole number from 0 to {MOST_RETRIES}", is_count)
BOOLEAN = Kind("give True or False", lambda value: value is None or isinstance(value, bool))
NAME = Kind(f"give a name of 1 to {MOST_BYTES} bytes", is_name)
ERRORS = Kind("give a tuple of exception classes, such as (OSError,)", _are_errors)
PRIORITY = or_none(
    Kind(
        f"give a whole number from 0 to {MOST_PRIORITY}",
        lambda value: is_count(value) and value <= MOST_PRIORITY,
    ),
    "for none",
)
DATE = or_none(Kind("give a datetime or an ISO 8601 text", _is_date), "for now")
MOMENT = or_none(
    Kind(
        "give seconds, a timedelta, a datetime or an ISO 8601 text",
        lambda value: _is_date(value) or is_seconds(value) or isinstance(value, timedelta),
    ),
    "for never",
)
QUEUE = or_none(
    Kind(NAME.allowed, lambda value: is_name(getattr(value, "name", value))), "for the default queue"
)
TEXT = Kind("give text", lambda value: value is None or (isinstance(value, str) and bool(value)))
FUNCTION = Kind("give a function", callable)
CLASS = Kind("give a class, or its name as text", lambda value: isinstance(value, (str, type)))
MAPPING = Kind(
    "give a dict with text keys",
    lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
)
PERSISTENT = Kind(
    "give 2 or 'persistent', or leave it out: the broker writes jobs to disk, so that a restart loses none",
    lambda value: value in (None, 2, "persistent"),
)
ANYTHING = Kind("", lambda _: True)
IS_UNIQUE = Kind(
    "give 'until_started' or 'until_done', or False for no lock",
    lambda value: value is None or value is False or value in ("until_started", "until_done"),
)
UNIQUE_FOR = or_none(
    Kind(
        f"give seconds, above 0 and up to {LONGEST}",
        lambda value: is_number(value, 0, LONGEST) and value != 0,
    ),
    "for 24 hours",
)
TAGS = or_none(
    Kind(
        f"give a list of at most {MOST_TAGS} printable texts of 1 to {LONGEST_TAG} characters, such as ['billing']",
        are_tags,
    ),
    "for none",
)
ON_DUPLICATE = or_none(
    Kind("give 'skip', 'raise' or 'replace'", lambda value: value in ("skip", "raise", "replace")),
    "for 'skip'",
)
ON_EXPIRED = or_none(
    Kind("give 'dead' or 'drop'", lambda value: value in ("dead", "drop")), "for the task's, which is 'dead'"
)

__all__ = [
    "ANYTHING",
    "BOOLEAN",
    "CLASS",
    "COUNT",
    "DATE",
    "ERRORS",
    "FUNCTION",
    "IS_UNIQUE",
    "LIMIT",
    "LONGEST",
    "LONGEST_TAG",
    "MAPPING",
    "MOMENT",
    "MOST_BYTES",
    "MOST_PRIORITY",
    "MOST_RETRIES",
    "MOST_TAGS",
    "NAME",
    "ON_DUPLICATE",
    "ON_EXPIRED",
    "PERSISTENT",
    "PRIORITY",
    "QUEUE",
    "SECONDS",
    "TAGS",
    "TEXT",
    "UNIQUE_FOR",
    "Kind",
    "always",
    "are_tags",
    "is_count",
    "is_name",
    "is_number",
    "is_rate",
    "is_seconds",
    "or_none",
]
