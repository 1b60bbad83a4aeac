"""kombu's JSON format, encoded and decoded by msgspec where the result is the same.

Nearly every message contains only text, numbers, lists and dicts. msgspec writes these in two thirds of kombu's time,
including our check of all types, and reads them in less than half. kombu handles all other types, and the values that
msgspec refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
from kombu.serialization import dumps, registry
from kombu.utils import json as kombu_json
from kombu.utils.json import JSONEncoder, loads

TYPED = b"__type__"
"""The key in the dict that kombu writes for a value of a type that JSON lacks (a date, a UUID)."""

_SCALARS = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})
_quick = msgspec.json.Encoder().encode
_kombu = JSONEncoder(separators=(",", ":")).encode
_read = msgspec.json.Decoder().decode


def json_is_kombus() -> bool:
    """Whether kombu's serializer ``json`` is its own; an app may have registered another one under that name."""
    return (
        registry._encoders["json"].encoder is kombu_json.dumps  # noqa: SLF001 - it has no public name
        and registry._decoders["application/json"] is loads  # noqa: SLF001
    )


def encode(value: Any) -> bytes:
    """``value`` as JSON in UTF-8; kombu's ``loads`` reads it like kombu's own. Raises what kombu's encoder raises."""
    try:
        if is_plain(value):
            return _quick(value)
    except (TypeError, ValueError, RecursionError):
        pass
    return _kombu(value).encode()


def encode_plain(value: Any) -> bytes:
    """As ``encode``, without a look at the types: ``value`` is plain, and bytes in it are written as base64.

    Raises ``ValueError`` for a text that is no valid Unicode.
    """
    return _quick(value)


def is_plain(value: Any) -> bool:
    """Whether msgspec writes ``value`` as kombu does; raises ``RecursionError`` for one that is nested too deeply.

    msgspec differs for UUIDs, dates and enums (no ``__type__``), for NaN and infinity (null), and for keys that are
    not text.
    """
    return _all_plain((value,))


def serialized(value: Any, serializer: str) -> tuple[str, str, bytes]:
    """Content type, encoding and bytes of ``value`` by kombu's ``serializer``; raises ``EncodeError``."""
    content_type, content_encoding, body = dumps(value, serializer)
    return content_type, content_encoding, body.encode() if isinstance(body, str) else body


def decode(raw: bytes) -> Any:
    """The value that kombu's ``loads`` reads from ``raw``; raises ``ValueError`` or ``RecursionError``."""
    if TYPED in raw:
        return loads(raw.decode())
    try:
        return _read(raw)
    except (ValueError, RecursionError):
        return json.loads(raw.decode())  # accepts NaN and lone surrogates; its errors are what callers expect


def _all_plain(values: Iterable[Any]) -> bool:
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not (_TEXT.issuperset(map(type, value)) and _all_plain(value.values())):
                return False
        elif kind is list or kind is tuple:
            if not _all_plain(value):
                return False
        elif kind is not float or not isfinite(value):
            return False
    return True
