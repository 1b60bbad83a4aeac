"""Column types that store and return any value of a job, on SQLite and PostgreSQL.

They refuse no value for its length, its characters or its depth (invariant 14).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import DateTime, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

MAX_TEXT = 65_536
"""Maximum bytes of a text for people: arguments, an error, a traceback."""
MAX_KEY = 512
"""Maximum bytes of an id or a name; an index row contains up to four of them."""
TOO_DEEP = {"__nightshift__": "nested too deeply to be read; the column has all of it"}
"""The value that stands for JSON too deep for Python to read."""
_TAG = "__nightshift__"
_TIME_ZONE_AT = len("2026-11-24 01:02:03.000000")
_SECONDS_END = len("2026-11-24 01:02:03")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class SafeText(TypeDecorator[str]):
    """Text in which ``�`` replaces the characters that databases refuse (NUL, lone surrogates).

    ``limit`` in bytes of UTF-8: a longer text is cut to its beginning and end, with a note of its size.
    """

    impl = Text
    cache_ok = True

    def __init__(self, limit: int = MAX_TEXT) -> None:
        super().__init__()
        self.limit = limit

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        """The function that writes a value in one call; both databases accept text unchanged."""
        return partial(_safe, limit=self.limit, shorten=shortened)


class KeyText(SafeText):
    """Text that is part of an index, whose rows PostgreSQL limits to 2,704 bytes.

    A key longer than ``MAX_KEY`` is stored as its beginning and a digest. So different keys stay different, and a
    search for the whole key finds its row.
    """

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(MAX_KEY)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        """The function that prepares a value for writing or comparing."""
        return partial(_safe, limit=self.limit, shorten=_digested)


class JsonText(TypeDecorator[Any]):
    """A value as JSON in a text column; bytes, datetimes and decimals are restored when read.

    PostgreSQL's ``jsonb`` would refuse an escaped NUL character, so the column is text. Every value can be written. A
    value nested too deeply for Python reads as ``TOO_DEEP``.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """``value`` as JSON text; ``None`` stays NULL."""
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """The value that was stored."""
        if value is None:
            return None
        try:
            return json.loads(value, object_hook=_decode)
        except RecursionError:
            return dict(TOO_DEEP) if value.startswith("{") else []


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite has no time zones, so it stores a naive one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """The function that writes a value; on SQLite like SQLAlchemy's ``DATETIME``, in a third of the time."""
        return _as_sqlite_text if dialect.name == "sqlite" else _in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The aware datetime in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8: its beginning, its end and its length."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return text
    note = f" … ({len(raw):,} bytes in all) … "
    half = (limit - len(note.encode())) // 2
    return raw[:half].decode("utf-8", "ignore") + note + raw[-half:].decode("utf-8", "ignore")


def key_of(text: str) -> str:
    """``text`` as ``KeyText`` stores it."""
    return _safe(text, MAX_KEY, _digested) or ""


def _digested(text: str, limit: int) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return text
    digest = hashlib.sha256(raw).hexdigest()[:32]
    return raw[: limit - 33].decode("utf-8", "ignore") + "~" + digest


def _safe(value: str | None, limit: int, shorten: Callable[[str, int], str]) -> str | None:
    """``value`` without characters that PostgreSQL or UTF-8 refuses, in at most ``limit`` bytes."""
    if value is None or (
        type(value) is str and len(value) <= limit and value.isascii() and "\0" not in value
    ):
        return value  # the usual case
    return shorten(str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode(), limit)


def to_json(value: Any) -> str:
    """Any value as JSON that ``JsonText`` reads."""
    try:
        return json.dumps(value, default=_encode)
    # too deep, a key that is no text, or a value that contains itself
    except (RecursionError, TypeError, ValueError):
        return "".join(_tokens(value))


def _tokens(value: Any) -> Iterator[str]:
    """The JSON of a value of any depth, without recursion; keys become texts, and a value inside itself null."""
    todo: list[Any] = [value]  # values to write, and ``_Token``s between them
    inside: set[int] = set()
    while todo:
        item = todo.pop()
        if isinstance(item, _Token):
            inside.discard(item.closes)
            yield item.text
        elif isinstance(item, (Mapping, list, tuple)):
            if id(item) in inside:
                yield "null"
                continue
            inside.add(id(item))
            yield "{" if isinstance(item, Mapping) else "["
            todo.extend(reversed(list(_parts(item))))
        else:
            yield json.dumps(item, default=_encode)


class _Token(NamedTuple):
    text: str
    closes: int = 0


def _parts(item: Mapping[Any, Any] | Sequence[Any]) -> Iterator[Any]:
    """What to write after the opening bracket of ``item``."""
    separator = ""
    if isinstance(item, Mapping):
        for key, value in item.items():
            yield _Token(f"{separator}{json.dumps(str(key))}: ")
            yield value
            separator = ", "
        yield _Token("}", id(item))
    else:
        for value in item:
            if separator:
                yield _Token(separator)
            yield value
            separator = ", "
        yield _Token("]", id(item))


def _in_utc(value: datetime | None) -> datetime | None:
    """``value`` in UTC; a naive datetime counts as UTC."""
    if value is None or value.tzinfo is UTC:
        return value
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _as_sqlite_text(value: datetime | None) -> str | None:
    moment = _in_utc(value)
    return None if moment is None else moment.isoformat(" ", "microseconds")[:_TIME_ZONE_AT]


def sqlite_times(values: Sequence[datetime | None]) -> list[str | None]:
    """``values`` as SQLite stores them, in half of the time: most are of the same second as the one before."""
    written: list[str | None] = []
    second = end = _EPOCH
    text = ""
    for value in values:
        if value is None or value.tzinfo is not UTC:
            written.append(_as_sqlite_text(value))
            continue
        if not second <= value < end:
            second = value.replace(microsecond=0)
            end, text = second + _SECOND, second.isoformat(" ")[:_SECONDS_END]
        written.append(f"{text}.{value.microsecond:06}")
    return written


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {_TAG: "datetime", "value": value.isoformat()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {_TAG: "bytes", "value": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return {_TAG: "decimal", "value": str(value)}
    return str(value)


def _decode(value: dict[str, Any]) -> Any:
    match value.get(_TAG), value.get("value"):
        case "datetime", str(text):
            return datetime.fromisoformat(text)
        case "bytes", str(text):
            return base64.b64decode(text)
        case "decimal", str(text):
            return Decimal(text)
    return value


__all__ = ["MAX_KEY", "MAX_TEXT", "TOO_DEEP", "JsonText", "KeyText", "SafeText", "UtcDateTime",
           "key_of", "shortened", "sqlite_times", "to_json"]  # fmt: skip
