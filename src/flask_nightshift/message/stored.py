"""A finished message as bytes, for a row of the outbox.

A row may be written by one version of this package and read by another. So each row says in which format its message
is, and who does not know that format leaves the row alone.

Format 1 is MessagePack: an array of body (bytes), headers and properties (both kombu's JSON, which keeps dates, UUIDs
and decimals), content type, content encoding, and ``plain`` of the envelope. More elements may follow.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .codec import decode as decode_json
from .codec import encode as encode_json
from .codec import encode_plain
from .envelope import Envelope

FORMAT = 1
"""The format in which this version writes."""


class UnknownFormat(ValueError):
    """The message was stored by a newer version of this package."""


class _Stored(msgspec.Struct, array_like=True, frozen=True, gc=False):
    body: bytes
    headers: bytes
    properties: bytes
    content_type: str
    content_encoding: str
    plain: bool


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def to_bytes(envelope: Envelope) -> bytes:
    """``envelope`` in ``FORMAT``; raises ``TypeError`` or ``ValueError`` for a header that no format can express."""
    headers, properties = _json(envelope, envelope.headers), _json(envelope, envelope.properties)
    stored = _Stored(
        envelope.body, headers, properties, envelope.content_type, envelope.content_encoding, envelope.plain
    )
    return _encoder.encode(stored)


def from_bytes(raw: bytes, form: int) -> Envelope:
    """The envelope in ``raw``, whose format is ``form``.

    Raises ``UnknownFormat``, or another ``ValueError`` if ``raw`` is damaged.
    """
    if form != FORMAT:
        raise UnknownFormat(f"format {form}; this version of Flask-Nightshift reads format {FORMAT}")
    stored = _decoder.decode(raw)
    return Envelope(
        stored.body,
        decode_json(stored.headers),
        decode_json(stored.properties),
        stored.content_type,
        stored.content_encoding,
        stored.plain,
    )


def _json(envelope: Envelope, value: dict[str, Any]) -> bytes:
    if envelope.plain:
        try:
            return encode_plain(value)
        except ValueError:
            pass  # half a character, which kombu escapes
    return encode_json(value)


__all__ = ["FORMAT", "UnknownFormat", "from_bytes", "to_bytes"]
