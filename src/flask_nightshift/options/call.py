"""The options and arguments of one call, checked before anything is published.

Celery accepts any keyword and turns an unknown one into a message property, so ``apply_async(coutdown=60)`` runs at
once. We refuse a misspelt option, an option that only a task can have, and a value that would fail later in a worker.
The error for an argument that cannot be encoded names the argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from kombu.exceptions import EncodeError
from kombu.serialization import dumps

from ..text.redaction import Redaction
from .kinds import (
    BOOLEAN,
    DATE,
    IS_UNIQUE,
    LIMIT,
    MAPPING,
    MOMENT,
    NAME,
    ON_DUPLICATE,
    ON_EXPIRED,
    PERSISTENT,
    TAGS,
    TEXT,
    UNIQUE_FOR,
    Kind,
)
from .of_tasks import OPTIONS
from .publish import WAIT, InvalidOption
from .task import limits, meant

_SIGNATURES = Kind(
    "give a signature (task.s()), or a list of them",
    lambda value: all(isinstance(each, Mapping) for each in _listed(value)),
)
CALL: Mapping[str, Kind] = {
    "add_to_parent": BOOLEAN,
    "compression": TEXT,
    "countdown": WAIT,
    "delivery_mode": PERSISTENT,
    "durable": BOOLEAN,
    "eta": DATE,
    "expires": MOMENT,
    "headers": MAPPING,
    "ignore_result": BOOLEAN,
    "immediate": OPTIONS["immediate"].kind,
    "link": _SIGNATURES,
    "link_error": _SIGNATURES,
    "mandatory": OPTIONS["mandatory"].kind,
    "retry": BOOLEAN,
    "retry_policy": MAPPING,
    "routing_key": Kind("give text", lambda value: isinstance(value, str)),
    "serializer": TEXT,
    "shadow": TEXT,
    "soft_time_limit": LIMIT,
    "tags": TAGS,
    "task_id": NAME,
    "time_limit": LIMIT,
    "on_duplicate": ON_DUPLICATE,
    "on_expired": ON_EXPIRED,
    "unique": IS_UNIQUE,
    "unique_for": UNIQUE_FOR,
    "unique_key": Kind("give text or a number", lambda value: value is None or isinstance(value, (str, int))),
}
"""The options of ``apply_async`` that people set, except ``priority`` and ``queue`` (see ``publish.py``)."""
_KNOWN = frozenset(CALL) | {
    "argsrepr", "chain", "chord", "confirm_timeout", "connection", "content_encoding", "content_type", "correlation_id",
    "declare", "exchange", "exchange_type", "expiration", "group_id", "group_index",
    "kwargsrepr", "origin", "parent_id", "priority", "producer", "publisher", "queue", "redelivered",
    "replaced_task_nesting", "reply_to", "result_cls", "retries", "root_id", "route_name", "router", "stamped_headers",
    "task_type", "timeout",
}  # fmt: skip
_MEANT = [*CALL, "priority", "queue"]
"""The options that an error suggests for a misspelt one."""
# a chord has its own max_retries, which Celery also gives to its header and its body
_OF_TASKS_ONLY = frozenset(OPTIONS) - frozenset(CALL) - _KNOWN - {"max_retries"}
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_SENT_LATER = frozenset({"link", "link_error", "chain", "chord"})


class UnencodableArgument(EncodeError, TypeError):
    """An argument of a job cannot be encoded; the message names it and says what to pass instead."""


def checked_call(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call, as Celery takes them; raises ``InvalidOption`` with the option, the value and what is
    allowed.

    Signatures that the worker publishes later (``link``, a chain, a chord's body) are checked too, because there the
    caller would not see the error.
    """
    found = _checked(options)
    if not _SENT_LATER.isdisjoint(options):
        for later in _later(options):
            _checked(later)
    return found


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    stamps = options.get("stamped_headers") or ()
    for name, value in options.items():
        kind = CALL.get(name)
        if kind is None:
            if name in _OF_TASKS_ONLY and value is not None and name not in stamps:
                raise InvalidOption(
                    name, value, "it is an option of a task, so set it where the task is declared"
                )
            near = None if name in _KNOWN or name in stamps else meant(name, _MEANT)
            if near is not None:
                raise InvalidOption(name, value, f"there is no such option; did you mean {near!r}?")
        elif value is not None and not kind.accepts(value):
            raise InvalidOption(name, value, kind.allowed)
    expires = options.get("expires")
    return (
        {**options, "expires": expires.total_seconds()} if isinstance(expires, timedelta) else dict(options)
    )


def _later(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The options of all signatures in ``options``, at any depth."""
    waiting: list[Any] = [options[name] for name in _SENT_LATER if options.get(name)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, (list, tuple)):
            waiting.extend(each)
        elif isinstance(each, Mapping):
            given = each.get("options")
            if isinstance(given, Mapping):
                yield given
                waiting.extend(given[name] for name in _SENT_LATER if given.get(name))
            parts = each.get("kwargs") if each.get("subtask_type") else None
            if isinstance(parts, Mapping):
                waiting.extend(parts[name] for name in ("tasks", "header", "body") if parts.get(name))


def with_limits(options: dict[str, Any], task: Any) -> dict[str, Any]:
    """``options`` with both time limits: a limit that the call does not give is the task's.

    The task's limit is adjusted if it contradicts the call's. Raises ``InvalidOption`` if the call gives a soft limit
    above its hard limit.
    """
    own = getattr(task, "soft_time_limit", None), getattr(task, "time_limit", None)
    soft, hard = options.get("soft_time_limit"), options.get("time_limit")
    if soft is own[0] and hard is own[1]:
        return options
    checked_limits = checked_call({"soft_time_limit": soft, "time_limit": hard})
    by_call = soft is not None and soft != own[0], hard is not None and hard != own[1]
    if all(by_call) and soft and hard and soft > hard:
        raise InvalidOption("soft_time_limit", soft, f"it must not be above time_limit={hard!r}")
    pair = limits(own[0] if soft is None else soft, own[1] if hard is None else hard, *by_call)
    return {**options, **checked_limits, "soft_time_limit": pair[0], "time_limit": pair[1]}


def unencodable_argument(
    task: str, run: Callable[..., Any] | None, args: Any, kwargs: Any, serializer: str, redaction: Redaction
) -> UnencodableArgument | None:
    """The error for the first argument that ``serializer`` cannot encode; None if it can encode all.

    ``redaction`` hides values in the error.
    """
    harmless = _named(run, redaction.args(args, redaction.positions(run)), redaction.value(kwargs))
    for (name, value), (_, shown) in zip(_named(run, args, kwargs), harmless, strict=True):
        try:
            dumps(value, serializer)
        except Exception as exc:  # noqa: BLE001 - an encoder may raise anything
            text = repr(shown)
            text = text if len(text) <= 80 else text[:77] + "..."
            return UnencodableArgument(
                f"{name} of {task} is {text}, which cannot be sent as {serializer} ({exc}): "
                "pass its id, and load it in the task; or plain data: text, numbers, lists, dicts"
            )
    return None


def arguments_of_retry(
    run: Callable[..., Any], before: tuple[Any, Any], args: Any, kwargs: Any
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a retry that was given ``args`` or ``kwargs`` or both, as in Celery.

    The other arguments come from ``before`` (positional, keyword), except for parameters that the new ones set.
    """
    old_args, old_kwargs = list(before[0] or ()), dict(before[1] or {})
    parameters = _parameters(run)
    named = [name for name, each in parameters.items() if each.kind in (each.POSITIONAL_ONLY, _EITHER)]
    either = {name for name in named if parameters[name].kind is _EITHER}
    if args is not None:
        taken = either & set(named[: len(args)])
        kept = {name: value for name, value in old_kwargs.items() if name not in taken}
        return list(args), kept if kwargs is None else dict(kwargs)
    new_kwargs = dict(kwargs or {})
    for at, name in enumerate(named[: len(old_args)]):
        if name in either and name in new_kwargs:
            old_args[at] = new_kwargs.pop(name)
    return old_args, new_kwargs


def _parameters(run: Callable[..., Any] | None) -> Mapping[str, inspect.Parameter]:
    """The parameters of a task's body; empty if Python cannot determine them."""
    try:
        return inspect.signature(run).parameters if run is not None else {}
    except (TypeError, ValueError):
        return {}


def _named(run: Callable[..., Any] | None, args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    names = list(_parameters(run))
    if isinstance(args, Sequence):
        for at, value in enumerate(args):
            yield f"the argument {names[at]!r}" if at < len(names) else f"argument {at + 1}", value
    if isinstance(kwargs, Mapping):
        for name, value in kwargs.items():
            yield f"the argument {name!r}", value


def _listed(value: Any) -> Sequence[Any]:
    return list(value) if isinstance(value, (list, tuple, set)) else [value]


__all__ = ["UnencodableArgument", "arguments_of_retry", "checked_call", "unencodable_argument", "with_limits"]
