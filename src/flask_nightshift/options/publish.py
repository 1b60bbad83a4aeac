"""Options that become part of the published message; they are checked in the caller, so its traceback shows the cause.

The limits are AMQP's (a priority is one byte, a name at most 255) and hold for every broker, so an app can move from
Redis to RabbitMQ unchanged.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from numbers import Real
from typing import Any

from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.serialization import prepare_accept_content, registry

from ..domain.job import utcnow
from .kinds import DATE, LONGEST, MOST_BYTES, MOST_PRIORITY, Kind, is_number
from .of_tasks import RETRY_KWARGS

_PLAIN = (str, bytes, float, bool, type(None), Decimal, datetime)
_WORD = 2**63


class UnencodableHeader(ValueError):
    """The broker's library cannot encode a message; its error does not name the part."""


class InvalidOption(ValueError):
    """The option ``name`` cannot have this ``value``; the message says what is allowed."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(name, value, allowed)  # pickle, and a result backend, make it again from these

    def __str__(self) -> str:
        name, value, allowed = self.args
        text = repr(value)
        return f"{name}={text if len(text) <= 80 else text[:77] + '...'} is not usable: {allowed}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


WAIT = Kind(
    f"give seconds, at most {LONGEST}",
    lambda value: value is None or is_number(value, -LONGEST, LONGEST),
)
_RETRY = {
    "max_retries": RETRY_KWARGS["max_retries"],
    "countdown": WAIT,
    "eta": DATE,
}
_RETRY_OPTIONS = ("expires", "priority", "queue")


def checked_retry(asked: Mapping[str, Any], timezone: tzinfo) -> dict[str, Any]:
    """Check the arguments of a ``retry()``; returns ``queue``, ``priority`` and ``expires`` as ``checked`` does.

    Raises ``InvalidOption`` for a wrong value, ``TypeError`` for an argument that ``retry()`` does not take.
    """
    for name, kind in _RETRY.items():
        if not kind.accepts(asked.get(name)):
            raise InvalidOption(name, asked[name], kind.allowed)
    options = {name: value for name, value in asked.items() if name not in _RETRY}
    if unknown := sorted(set(options) - set(_RETRY_OPTIONS)):
        raise TypeError(
            f"retry() does not take {', '.join(unknown)}; it takes {', '.join((*_RETRY, *_RETRY_OPTIONS))}"
        )
    return checked(options, timezone)


def checked(options: Mapping[str, Any], timezone: tzinfo) -> dict[str, Any]:
    """``options`` with ``priority``, ``queue`` and ``expires`` in the form of the message; raises ``InvalidOption``.

    None stays None. ``expires`` may be seconds, a datetime, an ISO 8601 text (as in Celery) or a timedelta, and becomes
    an ISO 8601 text.
    """
    found = dict(options)
    if found.get("priority") is not None:
        found["priority"] = checked_priority(found["priority"])
    if found.get("queue") is not None:
        found["queue"] = checked_queue(found["queue"])
    if found.get("expires") is not None:
        found["expires"] = checked_expires(found["expires"], timezone)
    return found


def checked_priority(value: Any) -> int:
    """A priority as an int from 0 to 255; raises ``InvalidOption``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number <= MOST_PRIORITY:
        raise InvalidOption("priority", value, f"give a whole number from 0 to {MOST_PRIORITY}")
    return number


def checked_queue(value: Any) -> str:
    """The name of a queue that is given by name or as a ``kombu.Queue``; raises ``InvalidOption``."""
    name = getattr(value, "name", value)
    try:
        size = len(name.encode()) if isinstance(name, str) else 0
    except UnicodeEncodeError:
        size = 0
    if not 0 < size <= MOST_BYTES:
        raise InvalidOption("queue", value, f"give a name of 1 to {MOST_BYTES} bytes")
    return str(name)


def checked_expires(value: Any, timezone: tzinfo) -> str:
    """When a job expires, as an ISO 8601 text with a time zone; raises ``InvalidOption``."""
    try:
        if isinstance(value, Real):
            value = timedelta(seconds=float(value))
        moment = (
            utcnow() + value if isinstance(value, timedelta)
            else maybe_make_aware(maybe_iso8601(value), timezone)
        )  # fmt: skip
    except (ValueError, OverflowError, TypeError, AttributeError):
        moment = None
    if not isinstance(moment, datetime):
        raise InvalidOption("expires", value, "give seconds, a timedelta, a datetime or an ISO 8601 text")
    return moment.isoformat()


def check_serializer(serializer: str | None, contents: Iterable[str]) -> None:
    """Raise ``InvalidOption`` for a serializer that workers do not accept;

    ``contents`` is Celery's ``accept_content``.
    """
    kind = registry.name_to_type.get(serializer)
    if kind is not None and kind not in prepare_accept_content(contents):
        allowed = f"workers accept {', '.join(contents)}; NIGHTSHIFT_CELERY={{'accept_content': [...]}} changes that"
        raise InvalidOption("serializer", serializer, allowed)


def unencodable_header(headers: Mapping[str, Any]) -> InvalidOption | None:
    """The error for the first header that no broker can encode; None if all can be encoded."""
    for name, value in headers.items():
        if not _is_plain(value):
            return InvalidOption(
                f"headers[{name!r}]", value, "give text, numbers, dates, None, or lists and dicts of them"
            )
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for name in value) and all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, int):
        return -_WORD <= value < _WORD
    return isinstance(value, _PLAIN)


__all__ = [
    "InvalidOption",
    "UnencodableHeader",
    "check_serializer",
    "checked",
    "checked_expires",
    "checked_priority",
    "checked_queue",
    "checked_retry",
    "unencodable_header",
]
