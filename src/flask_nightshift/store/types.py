"""Column types that take whatever a job brings and give back what was put in, on SQLite and PostgreSQL."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import DateTime, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_TAG = "__nightshift__"
_TIME_ZONE_AT = len("2026-11-24 01:02:03.000000")


class SafeText(TypeDecorator[str]):
    """Text in which the characters that no database takes (NUL, lone surrogates) are replaced by ``�``."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        """What writes a value, in one call; both databases take text as it is."""
        return _safe


class JsonText(TypeDecorator[Any]):
    """A value as JSON in a text column; bytes, datetimes and decimals come back as what they were.

    Text and not PostgreSQL's ``jsonb``, which refuses the NUL character even when it is escaped.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """``value`` as JSON text; ``None`` stays NULL."""
        return None if value is None else json.dumps(value, default=_encode)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """The value that was stored."""
        return None if value is None else json.loads(value, object_hook=_decode)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, always in UTC; SQLite, which has no time zones, stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """What writes a value, in one call; on SQLite as SQLAlchemy's ``DATETIME`` would, in a third of its time."""
        return _as_sqlite_text if dialect.name == "sqlite" else _in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The aware datetime in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _safe(value: str | None) -> str | None:
    """``value`` without what PostgreSQL, or UTF-8, refuses."""
    if value is None or (type(value) is str and value.isascii() and "\0" not in value):
        return value  # nearly always
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _in_utc(value: datetime | None) -> datetime | None:
    """``value`` in UTC; a naive one is taken to be in UTC."""
    if value is None or value.tzinfo is UTC:
        return value
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


@lru_cache(4096)
def _as_sqlite_text(value: datetime | None) -> str | None:
    """Remembered, since most times of a batch stand in several of its rows."""
    moment = _in_utc(value)
    return None if moment is None else moment.isoformat(" ", "microseconds")[:_TIME_ZONE_AT]


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


__all__ = ["JsonText", "SafeText", "UtcDateTime"]
