"""kombu's JSON, by a quicker library where that one means the same.

Nearly every message is made of texts, numbers, lists and dicts. Those msgspec writes in two thirds of the time, a look
at all their types included, and reads in less than half. What has a type that JSON does not know is left to kombu, and
so is what msgspec refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
from kombu.serialization import dumps
from kombu.utils.json import JSONEncoder, loads

TYPED = b"__type__"
"""The key of the dict that kombu writes for a value of a type that JSON does not know."""

_SCALARS = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})
_quick = msgspec.json.Encoder().encode
_kombu = JSONEncoder(separators=(",", ":")).encode
_read = msgspec.json.Decoder().decode


def encode(value: Any) -> bytes:
    """``value`` in UTF-8, which kombu's ``loads`` reads as it does kombu's own; raises what kombu's ``dumps`` does."""
    try:
        if _plain((value,)):
            return _quick(value)
    except (TypeError, ValueError, RecursionError):
        pass
    return _kombu(value).encode()


def serialized(value: Any, serializer: str) -> tuple[str, str, bytes]:
    """``value`` as kombu's ``serializer`` writes it: content type, encoding and bytes; raises ``EncodeError``."""
    content_type, content_encoding, body = dumps(value, serializer)
    return content_type, content_encoding, body.encode() if isinstance(body, str) else body


def decode(raw: bytes) -> Any:
    """The value that kombu's ``loads`` reads from ``raw``; raises ``ValueError`` or ``RecursionError``."""
    if TYPED in raw:
        return loads(raw.decode())
    try:
        return _read(raw)
    except (ValueError, RecursionError):
        return json.loads(raw.decode())  # takes NaN and lone surrogates, and says what is wrong with the rest


def _plain(values: Iterable[Any]) -> bool:
    """Whether msgspec writes all ``values`` as kombu does.

    It would write a UUID, a date or an enum without kombu's mark, NaN as null, and keys that JSON cannot have.
    """
    for value in values:
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind is dict:
            if not (_TEXT.issuperset(map(type, value)) and _plain(value.values())):
                return False
        elif kind is list or kind is tuple:
            if not _plain(value):
                return False
        elif kind is not float or not isfinite(value):
            return False
    return True
