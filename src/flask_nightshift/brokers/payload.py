"""A message in kombu's JSON, as its virtual transports keep it: reading it, and the envelope it is buried in.

One member may be added in front of it by the scripts,
``x-delivery-count``: how many deliveries went before. Everything here is pure.
"""

from __future__ import annotations

import base64
import binascii
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..message.codec import decode, encode

COUNT = "x-delivery-count"
DEAD = "nightshift_dead"


class Undecodable(ValueError):
    """The bytes are not a kombu message; says why."""


@dataclass(frozen=True, slots=True)
class Burial:
    """Why the transport itself buries a message. ``queue`` is where it came from, ``worker`` who buries it."""

    reason: str
    error: str
    queue: str
    worker: str

    def header(self) -> dict[str, str]:
        """The header ``nightshift_dead``."""
        return {
            "id": uuid.uuid4().hex,
            "reason": self.reason,
            "error": self.error,
            "at": datetime.now(UTC).isoformat(),
            "queue": self.queue,
            "worker": self.worker,
        }


def parse(raw: bytes) -> dict[str, Any]:
    """The payload in ``raw``, checked so far that a kombu ``Message`` can be made of it."""
    try:
        payload = decode(raw)
    except Exception as exc:  # noqa: BLE001 - strangers' bytes: bad UTF-8, bad JSON, nested too deep, ...
        raise Undecodable(f"not JSON: {type(exc).__name__}: {exc}") from None
    if not isinstance(payload, dict):
        raise Undecodable(f"not a JSON object but {type(payload).__name__}")
    properties = payload.get("properties")
    if not isinstance(properties, dict):
        raise Undecodable("no properties, so not a kombu message")
    if not isinstance(properties.setdefault("delivery_info", {}), dict):
        raise Undecodable("properties.delivery_info is not an object")
    if not isinstance(payload.get("headers") or {}, dict):
        raise Undecodable("headers are not an object")
    priority = properties.get("priority")
    if type(priority) is float and not math.isfinite(priority):
        properties["priority"] = None  # kombu would try to make a whole number of it
    _check_body(payload.get("body"), properties.get("body_encoding"))
    return payload


def _check_body(body: Any, encoding: Any) -> None:
    if body is not None and not isinstance(body, str):
        raise Undecodable(f"body is {type(body).__name__}, not a text")
    if not encoding or (isinstance(encoding, str) and encoding.lower() == "utf-8"):
        return
    if encoding != "base64":
        raise Undecodable(f"body_encoding is {encoding!r}, not base64")
    try:
        binascii.a2b_base64(body or "")
    except (binascii.Error, TypeError, ValueError) as exc:
        raise Undecodable(f"body is not base64: {exc}") from None


def take_count(payload: dict[str, Any]) -> int:
    """How many deliveries went before; removes the member that says so."""
    count = payload.pop(COUNT, 0)
    return count if isinstance(count, int) and count > 0 else 0


def job_id(body: dict[str, Any]) -> str:
    """The id people know a message by: the job's, or else its delivery tag."""
    headers, properties = body.get("headers") or {}, body.get("properties") or {}
    return str(headers.get("id") or properties.get("correlation_id") or properties.get("delivery_tag") or "")


def due(payload: dict[str, Any]) -> float | None:
    """When the message is due by its header ``eta``, in unix seconds; None if it may run at once."""
    eta = (payload.get("headers") or {}).get("eta")
    if not eta:
        return None
    try:
        moment = eta if isinstance(eta, datetime) else datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return None  # not ours to judge: Celery refuses it when it reads it
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def for_delivery(payload: dict[str, Any], count: int, number: int, queue: str) -> dict[str, Any]:
    """The payload as a consumer is to see it, delivered before ``count`` times, under delivery tag ``number``.

    ``delivery_info`` tells the ``queue`` it came from; how it was routed there does not. A header ``eta``
    has been served by now. It moves there, so that Celery does not start a timer of its own for it (and raise its
    prefetch meanwhile).
    """
    headers = payload["headers"] = dict(payload.get("headers") or {})
    properties = payload["properties"]
    properties["delivery_tag"] = number
    info = properties["delivery_info"]
    info["queue"] = queue
    headers.pop(COUNT, None)
    if count:
        headers[COUNT] = count
        info["redelivered"] = True
    if headers.get("eta") and due(payload) is not None:
        info["eta"], headers["eta"] = headers["eta"], None
    return payload


def bury(payload: dict[str, Any], burial: Burial, dead_queue: str) -> bytes:
    """A message as it goes to the dead-letter queue: itself with one more header."""
    headers = {**(payload.get("headers") or {}), DEAD: burial.header()}
    properties = {
        **payload["properties"],
        "delivery_info": _to(dead_queue),
        "delivery_tag": str(uuid.uuid4()),
    }
    return encode({**payload, "headers": headers, "properties": properties})


def bury_raw(raw: bytes, burial: Burial, dead_queue: str) -> bytes:
    """Bytes that are no message, in a message of their own."""
    return encode(
        {
            "body": base64.b64encode(raw).decode(),
            "content-type": "application/octet-stream",
            "content-encoding": "binary",
            "headers": {DEAD: burial.header()},
            "properties": {
                "body_encoding": "base64",
                "delivery_mode": 2,
                "delivery_tag": str(uuid.uuid4()),
                "delivery_info": _to(dead_queue),
                "priority": 0,
            },
        }
    )


def _to(queue: str) -> dict[str, str]:
    return {"exchange": "", "routing_key": queue}
