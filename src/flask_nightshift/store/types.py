"""Column types that take whatever a job brings and give back what was put in, on SQLite and PostgreSQL."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_TAG = "__nightshift__"


class SafeText(TypeDecorator[str]):
    """Text in which the characters that no database takes (NUL, lone surrogates) are replaced by ``�``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """``value`` without what PostgreSQL, or UTF-8, refuses."""
        if value is None or (type(value) is str and value.isascii() and "\0" not in value):
            return value  # nearly always
        return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()


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

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """``value`` in UTC; a naive one is taken to be in UTC."""
        if value is None:
            return None
        if value.tzinfo is not UTC:
            value = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The aware datetime in UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


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
