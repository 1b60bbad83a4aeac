"""The options of a task and their allowed values, checked when the task is declared.

Without the check, a wrong option would first fail in a worker. Celery turns any keyword argument of its decorator into
an attribute of the task. So do we, unless the name looks like a misspelt option or belongs to a method. Standard
library only.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..errors import ConfigurationError

LONGEST = 2**28 - 1
"""Seconds (8.5 years): the longest delay that RabbitMQ can hold; the limit on every broker, so apps can switch."""
MOST_RETRIES = 1_000_000
MOST_PRIORITY = 255
MOST_BYTES = 255
"""The maximum length of a name in AMQP."""
HARD_LIMIT_MARGIN = 30
"""Seconds between the soft and the hard time limit when only one of them is given."""
SIMILAR = 0.8
"""From this similarity on (``difflib``, 0 to 1) a name counts as a misspelling of another."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The allowed values of an option: ``accepts`` tests a value, ``allowed`` describes them in an error."""

    allowed: str
    accepts: Callable[[Any], bool]


def _or_none(kind: Kind, meaning: str) -> Kind:
    return Kind(f"{kind.allowed}, or None {meaning}", lambda value: value is None or kind.accepts(value))


def is_number(value: object, low: float, high: float) -> bool:
    """Whether ``value`` is a number from ``low`` to ``high``."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_seconds(value: object) -> bool:
    """Whether ``value`` is a number of seconds from 0 to ``LONGEST``."""
    return is_number(value, 0, LONGEST)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_RETRIES


def is_name(value: object) -> bool:
    """Whether ``value`` is a text of 1 to ``MOST_BYTES`` bytes."""
    if not isinstance(value, str):
        return False
    try:
        return 0 < len(value.encode()) <= MOST_BYTES
    except UnicodeEncodeError:
        return False


def _is_rate(value: object) -> bool:
    """Whether it is a rate limit in Celery's format: ``10``, ``"10/s"``, ``"1.5/m"``, ``"100/h"``."""
    return is_number(value, 0, math.inf) or (
        isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?(/[smh])?", value) is not None
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
LIMIT = _or_none(SECONDS, "for no limit")
COUNT = Kind(f"give a whole number from 0 to {MOST_RETRIES}", _is_count)
BOOLEAN = Kind("give True or False", lambda value: value is None or isinstance(value, bool))
NAME = Kind(f"give a name of 1 to {MOST_BYTES} bytes", is_name)
ERRORS = Kind("give a tuple of exception classes, such as (OSError,)", _are_errors)
PRIORITY = _or_none(
    Kind(
        f"give a whole number from 0 to {MOST_PRIORITY}",
        lambda value: _is_count(value) and value <= MOST_PRIORITY,
    ),
    "for none",
)
DATE = _or_none(Kind("give a datetime or an ISO 8601 text", _is_date), "for now")
MOMENT = _or_none(
    Kind(
        "give seconds, a timedelta, a datetime or an ISO 8601 text",
        lambda value: _is_date(value) or is_seconds(value) or isinstance(value, timedelta),
    ),
    "for never",
)
QUEUE = _or_none(
    Kind(NAME.allowed, lambda value: is_name(getattr(value, "name", value))), "for the default queue"
)
TEXT = Kind("give text", lambda value: value is None or (isinstance(value, str) and bool(value)))
FUNCTION = Kind("give a function", callable)
CLASS = Kind("give a class, or its name as text", lambda value: isinstance(value, (str, type)))
ANYTHING = Kind("", lambda _: True)

RETRY_KWARGS: Mapping[str, Kind] = {
    "max_retries": _or_none(COUNT, "for no limit"),
    "countdown": _or_none(SECONDS, "for the task's own wait"),
    "queue": QUEUE,
    "priority": PRIORITY,
    "expires": MOMENT,
}
"""The options of an automatic retry: those of ``retry()`` that make sense for every failure."""

_EVERY_TASK: Mapping[str, Kind] = {
    "acks_late": BOOLEAN,
    "acks_on_failure": BOOLEAN,
    "acks_on_failure_or_timeout": BOOLEAN,
    "acks_on_timeout": BOOLEAN,
    "autoretry_for": ERRORS,
    "compression": TEXT,
    "default_retry_delay": _or_none(SECONDS, "for none"),
    "dont_autoretry_for": ERRORS,
    "expires": MOMENT,
    "ignore_result": BOOLEAN,
    "max_retries": _or_none(COUNT, "for no limit"),
    "priority": PRIORITY,
    "queue": QUEUE,
    "rate_limit": _or_none(Kind("give a number or a text such as '10/s', '100/m', '5/h'", _is_rate), "for no limit"),
    "reject_on_worker_lost": BOOLEAN,
    "resultrepr_maxsize": Kind("give a whole number from 1", lambda value: _is_count(value) and value > 0),
    "retry_backoff": _or_none(
        Kind(
            f"give the first wait in seconds, from 0 to {LONGEST}, or True or False",
            lambda value: isinstance(value, bool) or is_seconds(value),
        ),
        "for none",
    ),
    "retry_backoff_max": SECONDS,
    "retry_jitter": BOOLEAN,
    "retry_kwargs": _or_none(
        Kind("give a dict with any of " + ", ".join(RETRY_KWARGS), lambda value: isinstance(value, Mapping)), "for none"
    ),
    "retry_on_worker_lost": BOOLEAN,
    "send_events": BOOLEAN,
    "serializer": TEXT,
    "soft_time_limit": LIMIT,
    "store_eager_result": BOOLEAN,
    "store_errors_even_if_ignored": BOOLEAN,
    "throws": ERRORS,
    "time_limit": LIMIT,
    "track_started": BOOLEAN,
    "trail": BOOLEAN,
    "typing": BOOLEAN,
}  # fmt: skip
EVERY_TASK = frozenset(_EVERY_TASK)
"""The options that can be set for all tasks of an app at once."""

HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
_ONE_TASK: Mapping[str, Kind] = {
    **_EVERY_TASK,
    **dict.fromkeys((*HOOKS, "on_replace", "shadow_name"), FUNCTION),
    "Request": CLASS,
    "Strategy": CLASS,
    "base": Kind("give a class that is derived from celery.Task", lambda v: v is None or isinstance(v, type)),
    "bind": BOOLEAN,
    "delivery_mode": Kind(
        "give 1 or 2, 'transient' or 'persistent'", lambda v: v in (None, 1, 2, "transient", "persistent")
    ),
    "exchange": ANYTHING,
    "exchange_type": TEXT,
    "immediate": BOOLEAN,
    "lazy": BOOLEAN,
    "mandatory": BOOLEAN,
    "name": _or_none(NAME, "for module.function"),
    "pydantic": BOOLEAN,
    "routing_key": TEXT,
    "shared": BOOLEAN,
}
_OFTEN = EVERY_TASK - {"compression", "throws", "trail", "typing"}
"""The options that count as meant by a similar name; a user's own attribute may resemble the other ones."""
_OTHER_WORDS = {
    "attempts": "max_retries",
    "hard_time_limit": "time_limit",
    "max_attempts": "max_retries",
    "retries": "max_retries",
    "retry_for": "autoretry_for",
    "timeout": "time_limit",
}
"""Names of our options in other job queues."""
_METHODS = frozenset(
    {"AsyncResult", "apply", "apply_async", "chunks", "delay", "enqueue_many", "map", "on_bound", "progress",
     "replace", "retry", "run", "s", "send_event", "si", "signature", "starmap", "subtask", "update_state"}
)  # fmt: skip


def checked(
    options: Mapping[str, Any], key: Callable[[str], str], only: Iterable[str] | None = None
) -> dict[str, Any]:
    """``options`` of a task, as Celery takes them: collections of exception classes become tuples.

    ``key`` turns an option's name into its name in an error. ``only`` are the allowed names; without it, an unknown
    name becomes an attribute of the task, as in Celery. Raises ``ConfigurationError`` with the option, the value and
    what is allowed.
    """
    found = dict(options)
    for name, value in found.items():
        kind = _ONE_TASK.get(name) if only is None or name in only else None
        if kind is None:
            _refuse_name(name, value, key, only)
        elif not kind.accepts(value):
            raise ConfigurationError(key(name), value, kind.allowed)
        elif kind is ERRORS:
            found[name] = tuple(value)
    if found.get("retry_kwargs"):
        check_retry_kwargs(found["retry_kwargs"], key)
    check_limits(found.get("soft_time_limit"), found.get("time_limit"), key)
    return found


def check_retry_kwargs(options: Mapping[str, Any], key: Callable[[str], str]) -> None:
    """Raise ``ConfigurationError`` for a wrong option of an automatic retry."""
    for name, value in options.items():
        kind = RETRY_KWARGS.get(name)
        where = f"{key('retry_kwargs')}[{name!r}]"
        if kind is None:
            raise ConfigurationError(where, value, "allowed are " + ", ".join(RETRY_KWARGS))
        if not kind.accepts(value):
            raise ConfigurationError(where, value, kind.allowed)


def check_limits(soft: float | None, hard: float | None, key: Callable[[str], str]) -> None:
    """Raise ``ConfigurationError`` if the soft limit is above the hard limit."""
    if soft and hard and soft > hard:
        raise ConfigurationError(key("soft_time_limit"), soft, f"it must not be above time_limit={hard!r}")


def limits(
    soft: float | None, hard: float | None, soft_given: bool, hard_given: bool
) -> tuple[float | None, float | None]:
    """The soft and hard time limit in seconds; if only one was given, the other one is adjusted to fit it."""
    if not soft or not hard or soft < hard or soft_given == hard_given:
        return soft, hard
    if soft_given:
        return soft, soft + HARD_LIMIT_MARGIN
    return max(hard - HARD_LIMIT_MARGIN, hard * 0.9), hard


def meant(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``name`` probably misspells; None if it resembles none."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=SIMILAR)
    return near[0] if near else None


def misspelt(name: str) -> str | None:
    """The task option that ``name``, an attribute of a task class, probably misspells; None if it misspells none."""
    return None if name in _ONE_TASK else meant(name, _OFTEN)


def no_such_option(key: str, value: object, meant: str) -> ConfigurationError:
    """The error for a misspelt option."""
    return ConfigurationError(key, value, f"there is no such option; did you mean {meant!r}?")


def _refuse_name(name: str, value: object, key: Callable[[str], str], only: Iterable[str] | None) -> None:
    """Raise ``ConfigurationError`` for an unknown option; return if it may be an attribute of the user's own."""
    near = _OTHER_WORDS.get(name) or meant(name, only or (*_OFTEN, *HOOKS))
    if near is not None:
        raise no_such_option(key(name), value, near)
    if only is not None:
        raise ConfigurationError(key(name), value, "allowed are " + ", ".join(sorted(only)))
    if name in _METHODS and not callable(value):
        raise ConfigurationError(key(name), value, f"{name} is a method of a task")
