"""Reads a message in kombu's JSON as a ready job, a delayed job or a dead letter."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from kombu.compression import decompress

from ..domain.job import DeadLetter, Reason, utcnow
from ..message import headers as message_headers
from ..message.burial import dead_letter
from ..message.envelope import Envelope
from ..message.headers import job_properties
from .values import DelayedJob


def _headers(raw: bytes | None) -> dict[str, Any]:
    try:
        headers = json.loads(raw or b"{}").get("headers")
    except (ValueError, AttributeError):
        return {}
    return headers if isinstance(headers, dict) else {}


def _ready_since(headers: dict[str, Any]) -> datetime | None:
    """The latest of: when the job was enqueued, when it was replayed, when its delay ended."""
    past = message_headers.history(headers)
    times = [
        message_headers.parse_time(text)
        for text in (past.get("enqueued_at"), past.get("due"), headers.get("eta"))
    ]
    return max((moment for moment in times if moment is not None), default=None)


def age(raws: Iterable[bytes | None]) -> float | None:
    """Seconds since the earliest of the messages ``raws`` could start; None if no message has a time."""
    times = [moment for raw in raws if (moment := _ready_since(_headers(raw))) is not None]
    return max(0.0, (utcnow() - min(times)).total_seconds()) if times else None


def delayed_job(job_id: str, queue: str, due: datetime | None, payload: dict[str, Any]) -> DelayedJob:
    """The delayed job of the message ``payload``."""
    headers = dict(payload.get("headers") or {})
    properties = payload.get("properties") or {}
    envelope = Envelope(
        body(payload.get("body"), properties.get("body_encoding"), headers),
        headers,
        job_properties(properties),
        payload.get("content-type") or "application/json",
        payload.get("content-encoding") or "utf-8",
    )
    return DelayedJob(job_id, str(headers.get("task") or ""), queue, due, envelope)


def read_dead_letter(raw: bytes) -> DeadLetter:
    """Read a dead letter from kombu's JSON; other bytes become its body, with the reason ``undecodable``."""
    try:
        payload = json.loads(raw)
        properties = payload.get("properties") or {}
        headers = dict(payload.get("headers") or {})
        return dead_letter(
            body(payload["body"], properties.get("body_encoding"), headers),
            headers,
            properties,
            payload.get("content-type"),
            payload.get("content-encoding"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return DeadLetter(
            id=hashlib.sha256(raw).hexdigest()[:32],
            reason=Reason.UNDECODABLE,
            at=utcnow(),
            queue="",
            job_id=None,
            task=None,
            failure=None,
            body=raw,
            content_type="application/octet-stream",
            content_encoding="binary",
        )


def body(encoded: Any, encoding: str | None, headers: dict[str, Any]) -> bytes:
    """The body as bytes, without base64 and compression; it removes ``compression`` from ``headers``."""
    raw = base64.b64decode(encoded, validate=True) if encoding == "base64" else str(encoded).encode()
    method = headers.get("compression")
    if method:
        try:
            raw = decompress(raw, method)
        except Exception:  # noqa: BLE001 - an unknown method or broken data: the letter is kept as it is
            return raw
        del headers["compression"]
    return raw
