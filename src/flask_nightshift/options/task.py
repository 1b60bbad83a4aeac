"""The options of a task, checked when the task is declared.

Without the check, a wrong option would first fail in a worker. Celery turns any keyword argument of its decorator into
an attribute of the task. So do we, unless the name looks like a misspelt option or belongs to a method. Standard
library only.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import ConfigurationError
from .kinds import ERRORS, TAGS
from .of_tasks import DURABLE, EVERY_TASK, HOOKS, IDEMPOTENCY_KEY, OPTIONS, RETRY_KWARGS, TAGS_OPTION, UNIQUE

HARD_LIMIT_MARGIN = 30
"""Seconds between the soft and the hard time limit when only one of them is given."""
SIMILAR = 0.8
"""From this similarity on (``difflib``, 0 to 1) a name counts as a misspelling of another."""

_OFTEN = EVERY_TASK.union(UNIQUE, {IDEMPOTENCY_KEY, DURABLE, TAGS_OPTION}) - {
    "compression",
    "throws",
    "trail",
    "typing",
}
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
    {"AsyncResult", "aapply_async", "adelay", "aenqueue_many", "apply", "apply_async", "chunks", "delay",
     "enqueue_many", "map", "on_bound", "progress", "replace", "retry", "run", "s", "send_event", "si", "signature",
     "starmap", "subtask", "update_state"}
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
        option = OPTIONS.get(name) if only is None or name in only else None
        if option is None:
            _refuse_name(name, value, key, only)
            continue
        kind = option.kind
        if not kind.accepts(value):
            raise ConfigurationError(key(name), value, kind.allowed)
        if kind is ERRORS:
            found[name] = tuple(value)
        elif kind is TAGS:
            found[name] = in_order(value)
    if found.get("retry_kwargs"):
        check_retry_kwargs(found["retry_kwargs"], key)
    check_limits(found.get("soft_time_limit"), found.get("time_limit"), key)
    if only is None and "base" not in found:
        check_unique(found, key)
    for name in ("unique_key", IDEMPOTENCY_KEY):
        if callable(found.get(name)):
            found[name] = staticmethod(found[name])  # Celery would bind it to the task
    return found


def in_order(tags: Iterable[str] | None) -> tuple[str, ...]:
    """``tags``, each once; those of a set in alphabetical order."""
    listed = sorted(tags) if isinstance(tags, (set, frozenset)) else tags or ()
    return tuple(dict.fromkeys(listed))


def check_unique(options: Mapping[str, Any], key: Callable[[str], str]) -> None:
    """Raise ``ConfigurationError`` for options that only a unique task can have, or that exclude its lock."""
    unique = options.get("unique")
    for name in UNIQUE[1:]:
        if not unique and options.get(name) is not None:
            allowed = "the task has no lock; add unique='until_done' or unique='until_started'"
            raise ConfigurationError(key(name), options[name], allowed)
    if unique and options.get(DURABLE) and options.get("on_duplicate") == "replace":
        allowed = "a job that replaces others cannot be durable; use on_duplicate='skip' or 'raise'"
        raise ConfigurationError(key(DURABLE), True, allowed)
    if unique == "until_done" and options.get("acks_late") is False:
        allowed = "with acks_late=False a crash would leave the lock; use 'until_started', or acks_late=True"
        raise ConfigurationError(key("unique"), unique, allowed)


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
    return None if name in OPTIONS else meant(name, _OFTEN)


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
