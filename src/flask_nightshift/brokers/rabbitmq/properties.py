"""A message's properties and headers in AMQP's binary form, byte for byte as py-amqp writes and reads them.

py-amqp takes three times as long. These functions know only what a job's message consists of. For anything else they
raise ``Unusual``, and the caller leaves the message to py-amqp.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812 - the struct module's own name says nothing
from typing import Any

_LENGTH = Struct(">I").pack
_SMALL = Struct(">ci").pack
_LARGE = Struct(">cq").pack
_DOUBLE = Struct(">cd").pack
_NO_LENGTH = bytes(4)
_write_flags = Struct(">H").pack_into
_write_length = Struct(">I").pack_into
_read_flags = Struct(">H").unpack_from
_read_length = Struct(">I").unpack_from
_read_small = Struct(">i").unpack_from
_read_large = Struct(">q").unpack_from
_read_double = Struct(">d").unpack_from
_UNENCODABLE = (AttributeError, OverflowError, StructError, TypeError, UnicodeError, ValueError)
_MOST_NAMES = 1000

_BEFORE_HEADERS = ((0x8000, "content_type"), (0x4000, "content_encoding"))
_NUMBERS = ((0x1000, "delivery_mode"), (0x0800, "priority"))
_TEXTS = ((0x0400, "correlation_id"), (0x0200, "reply_to"), (0x0100, "expiration"), (0x0080, "message_id"))
_RARE = 0x007F
"""The flags of the properties that no job has."""
_WRITTEN = frozenset(name for _, name in (*_BEFORE_HEADERS, *_NUMBERS, *_TEXTS)) | {"application_headers"}


class Unusual(Exception):
    """The message has something that only py-amqp knows."""


def encoded(properties: Mapping[str, Any]) -> bytearray:
    """The flags and values of a message's properties; a property that is None is left out."""
    if not properties.keys() <= _WRITTEN:
        raise Unusual
    get = properties.get
    flags = 0
    out = bytearray(2)
    try:
        for flag, name in _BEFORE_HEADERS:
            if (value := get(name)) is not None:
                flags |= flag
                out += _short(value)
        if (value := get("application_headers")) is not None:
            flags |= 0x2000
            _add_table(out, value)
        for flag, name in _NUMBERS:
            if (value := get(name)) is not None:
                flags |= flag
                out.append(value)
        for flag, name in _TEXTS:
            if (value := get(name)) is not None:
                flags |= flag
                out += _short(value)
    except _UNENCODABLE as exc:
        raise Unusual from exc  # py-amqp words the error, or knows how to write it
    _write_flags(out, 0, flags)
    return out


def decoded(data: bytes, at: int) -> dict[str, Any]:
    """The properties whose flags begin at ``data[at]``."""
    (flags,) = _read_flags(data, at)
    if flags & _RARE:
        raise Unusual
    at += 2
    found: dict[str, Any] = {}
    try:
        for flag, name in _BEFORE_HEADERS:
            if flags & flag:
                end = at + 1 + data[at]
                found[name] = data[at + 1 : end].decode()
                at = end
        if flags & 0x2000:
            (size,) = _read_length(data, at)
            at += 4 + size
            found["application_headers"] = _table(data, at - size, at)
        for flag, name in _NUMBERS:
            if flags & flag:
                found[name] = data[at]
                at += 1
        for flag, name in _TEXTS:
            if flags & flag:
                end = at + 1 + data[at]
                found[name] = data[at + 1 : end].decode()
                at = end
    except (IndexError, StructError, UnicodeError) as exc:
        raise Unusual from exc  # a text in no encoding, which py-amqp leaves as bytes
    return found


# -- writing ---------------------------------------------------------------------------------------------------


def _short(value: str) -> bytes:
    """A text of at most 255 bytes."""
    text = value.encode()
    return len(text).to_bytes(1, "big") + text


class _Names(dict[str, bytes]):
    """The encoded names of headers, each followed by ``after``; a program's messages have few different names."""

    def __init__(self, after: bytes) -> None:
        super().__init__()
        self._after = after

    def __missing__(self, name: str) -> bytes:
        if type(name) is not str:
            raise Unusual
        if len(self) >= _MOST_NAMES:
            self.clear()
        self[name] = written = _short(name) + self._after
        return written


_names = _Names(b"")
_names_of_none = _Names(b"V")
_names_of_text = _Names(b"S")


def _add_table(out: bytearray, table: dict[str, Any]) -> None:
    if type(table) is not dict:
        raise Unusual
    start = len(out)
    out += _NO_LENGTH
    for name, value in table.items():
        if value is None:
            out += _names_of_none[name]
        elif type(value) is str:
            text = value.encode()
            out += _names_of_text[name]
            out += _LENGTH(len(text))
            out += text
        else:
            out += _names[name]
            _add_value(out, value)
    _write_length(out, start, len(out) - start - 4)


def _add_value(out: bytearray, value: Any) -> None:
    kind = type(value)
    if value is None:
        out += b"V"
    elif kind is int:
        out += _SMALL(b"I", value) if -2147483647 <= value <= 2147483647 else _LARGE(b"L", value)
    elif kind is str:
        text = value.encode()
        out += b"S"
        out += _LENGTH(len(text))
        out += text
    elif kind is dict:
        out += b"F"
        _add_table(out, value)
    elif kind is list or kind is tuple:
        out += b"A"
        start = len(out)
        out += _NO_LENGTH
        for each in value:
            _add_value(out, each)
        _write_length(out, start, len(out) - start - 4)
    elif kind is bool:
        out += b"t\1" if value else b"t\0"
    elif kind is float:
        out += _DOUBLE(b"d", value)
    else:
        raise Unusual


# -- reading ---------------------------------------------------------------------------------------------------


def _table(data: bytes, at: int, end: int) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    while at < end:
        kind_at = at + 1 + data[at]
        name = data[at + 1 : kind_at].decode()
        kind = data[kind_at]
        at = kind_at + 1
        if kind == 86:  # V
            found[name] = None
        elif kind == 83:  # S
            start = at + 4
            at = start + _read_length(data, at)[0]
            found[name] = data[start:at].decode()
        else:
            found[name], at = _value(data, kind, at)
    return found


def _array(data: bytes, at: int, end: int) -> list[Any]:
    found = []
    while at < end:
        value, at = _value(data, data[at], at + 1)
        found.append(value)
    return found


def _value(data: bytes, kind: int, at: int) -> tuple[Any, int]:
    """The value of a header, and where the next one begins."""
    if kind in b"SFA":
        start = at + 4
        at = start + _read_length(data, at)[0]
        if kind == 83:
            return data[start:at].decode(), at
        return _table(data, start, at) if kind == 70 else _array(data, start, at), at
    if kind == 86:
        return None, at
    if kind == 73:  # I
        return _read_small(data, at)[0], at + 4
    if kind in b"Ll":
        return _read_large(data, at)[0], at + 8
    if kind == 116:  # t
        return bool(data[at]), at + 1
    if kind == 100:  # d
        return _read_double(data, at)[0], at + 8
    raise Unusual


__all__ = ["Unusual", "decoded", "encoded"]
