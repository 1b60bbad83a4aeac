"""Makes a message's headers smaller for a broker that limits their size.

The user's headers stay. Ours carry fewer earlier attempts. The headers of a dead letter move into its body, so nothing
is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kombu.utils import json
from msgspec.structs import replace

from ..domain.job import cut
from .envelope import Envelope
from .headers import DEAD, HISTORY, attempts, history

WRAPPED = "application/x-nightshift-letter"
"""The content type of a dead letter whose body is one line of JSON with its headers, then its original body."""
BRIEF = 200
"""Bytes kept of an earlier attempt's error message."""


def lighter(envelope: Envelope) -> Iterator[Envelope]:
    """Smaller versions of ``envelope``, largest first: earlier attempts with short messages, the last one only, none.

    Yields nothing if the envelope has no ``nightshift`` header.
    """
    past = attempts(envelope.headers)
    brief = [{**each, "message": cut(str(each.get("message") or ""), BRIEF)} for each in past]
    for kept in (brief, brief[-1:], []):
        if HISTORY in envelope.headers:
            headers = {**envelope.headers, HISTORY: {**history(envelope.headers), "attempts": kept}}
            yield replace(envelope, headers=headers)


def wrapped(letter: Envelope) -> Envelope:
    """``letter`` with its headers moved into its body; outside stay the id, the task and a short death note."""
    note = letter.headers.get(DEAD)
    told: dict[str, Any] = {
        name: cut(str(letter.headers[name]), 255) for name in ("id", "task") if letter.headers.get(name)
    }
    if isinstance(note, Mapping):
        told[DEAD] = {**note, "message": cut(str(note.get("message") or ""), BRIEF), "traceback": ""}
    inside = {
        "headers": letter.headers,
        "content_type": letter.content_type,
        "content_encoding": letter.content_encoding,
    }
    body = json.dumps(inside).encode("utf-8", "surrogatepass") + b"\n" + letter.body
    return replace(letter, body=body, headers=told, content_type=WRAPPED, content_encoding="binary")


def unwrapped(
    body: bytes | str,
    headers: Mapping[str, Any] | None,
    content_type: str | None,
    content_encoding: str | None,
) -> tuple[bytes | str, Mapping[str, Any] | None, str | None, str | None]:
    """Body, headers, content type and encoding of a dead letter: undoes ``wrapped``.

    A letter that is not wrapped is returned as it is.
    """
    if content_type != WRAPPED:
        return body, headers, content_type, content_encoding
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    line, _, own = raw.partition(b"\n")
    try:
        inside = json.loads(line.decode("utf-8", "surrogatepass"))
        return own, dict(inside["headers"]), inside["content_type"], inside["content_encoding"]
    except (ValueError, TypeError, KeyError, RecursionError):  # not written by wrapped(): returned as it is
        return body, headers, content_type, content_encoding


__all__ = ["WRAPPED", "lighter", "unwrapped", "wrapped"]
