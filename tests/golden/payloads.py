"""Splits JSON text into a value and its notation, which together give its bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

_STYLES: dict[str, dict[str, Any]] = {
    "JSON, compact, UTF-8": {"separators": (",", ":"), "ensure_ascii": False},
    "JSON, compact, ASCII": {"separators": (",", ":"), "ensure_ascii": True},
    "JSON, spaced, UTF-8": {"ensure_ascii": False},
    "JSON, spaced, ASCII": {"ensure_ascii": True},
}


def parsed(raw: bytes) -> tuple[str, Any]:
    """How ``raw`` is written, and its value in the order of its members; text that is not plain JSON as it is."""
    value = json.loads(raw)
    for style, options in _STYLES.items():
        if json.dumps(value, **options).encode() == raw:
            return style, value
    return "verbatim", raw.decode()


def body_of(raw: bytes) -> dict[str, Any]:
    """The body of a job's message."""
    style, value = parsed(raw)
    return {"written": style, "value": value}


def redis_element(raw: bytes) -> dict[str, Any]:
    """An element of a ready list: kombu's envelope, with the body in it decoded."""
    style, envelope = parsed(raw)
    if isinstance(envelope, dict):
        body = base64.b64decode(envelope["body"], validate=True)
        assert base64.b64encode(body).decode() == envelope["body"]
        envelope = {key: body_of(body) if key == "body" else value for key, value in envelope.items()}
    return {"written": style, "value": envelope}
