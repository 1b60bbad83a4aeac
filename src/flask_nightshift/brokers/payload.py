"""A message in kombu's JSON, as virtual transports store it: writes and reads it, prepares its delivery, buries it.

The Redis scripts may add one member at the front, ``x-delivery-count``: the number of earlier deliveries. Everything
here is pure.
"""

from __future__ import annotations

import base64
import binascii
import math
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..message.codec import decode, encode, encode_plain
from ..message.envelope import Envelope

COUNT = "x-delivery-count"
DEAD = "nightshift_dead"


class Undecodable(ValueError):
    """The bytes are not a kombu message; the text says why."""


@dataclass(frozen=True, slots=True)
class Burial:
    """Why the transport itself buries a message. ``queue`` is the message's queue, ``worker`` who buries it."""

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


def written(envelope: Envelope, queue: str, tag: str) -> bytes:
    """The message for the ready list of ``queue``, as a kombu producer and its channel would write it.

    ``tag`` is the delivery tag for kombu's own consumers.
    """
    properties = {"delivery_mode": 2, **envelope.properties}
    if (seconds := properties.get("expiration")) is not None:
        properties["expiration"] = str(int(seconds * 1000))
    priority = properties.pop("priority", None) or 0
    properties.update(delivery_info=_to(queue), priority=priority, body_encoding="base64", delivery_tag=tag)
    message = {
        "body": envelope.body,
        "content-encoding": envelope.content_encoding,
        "content-type": envelope.content_type,
        "headers": envelope.headers,
        "properties": properties,
    }
    if envelope.plain:
        try:
            return encode_plain(message)
        except ValueError:  # a lone surrogate, which kombu's JSON escapes
            pass
    message["body"] = base64.b64encode(envelope.body).decode()
    return encode(message)


def parse(raw: bytes) -> dict[str, Any]:
    """The payload in ``raw``, checked enough to create a kombu ``Message`` from it; raises ``Undecodable``."""
    try:
        payload = decode(raw)
    except Exception as exc:  # noqa: BLE001 - foreign bytes: bad UTF-8, bad JSON, nested too deep, ...
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
        properties["priority"] = None  # kombu would try to convert it to an int
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
    """Remove the delivery count from ``payload``; returns the number of earlier deliveries."""
    if COUNT not in payload:
        return 0
    count = payload.pop(COUNT)
    return count if isinstance(count, int) and count > 0 else 0


def job_id(body: dict[str, Any]) -> str:
    """The id of a message for people: the job's id, else its correlation id, else its delivery tag."""
    headers, properties = body.get("headers") or {}, body.get("properties") or {}
    return str(headers.get("id") or properties.get("correlation_id") or properties.get("delivery_tag") or "")


def due(payload: dict[str, Any]) -> float | None:
    """The time in the message's header ``eta``, in unix seconds; None if it may run at once."""
    eta = (payload.get("headers") or {}).get("eta")
    if not eta:
        return None
    try:
        moment = eta if isinstance(eta, datetime) else datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return None  # Celery refuses the message when it reads the header
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def for_delivery(payload: dict[str, Any], count: int, number: int, queue: str) -> dict[str, Any]:
    """``payload`` as a consumer receives it: delivered ``count`` times before, with the delivery tag ``number``.

    ``delivery_info`` gets the ``queue`` that the message came from. The time in the header ``eta`` has passed; it moves
    to ``delivery_info``, so that Celery does not start its own timer and raise its prefetch count for it.
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
    """The bytes of ``payload`` for the dead-letter queue, with the header ``nightshift_dead``."""
    headers = {**(payload.get("headers") or {}), DEAD: burial.header()}
    properties = {
        **payload["properties"],
        "delivery_info": _to(dead_queue),
        "delivery_tag": str(uuid.uuid4()),
    }
    return encode({**payload, "headers": headers, "properties": properties})


def bury_raw(raw: bytes, burial: Burial, dead_queue: str) -> bytes:
    """The bytes of a dead letter whose body is ``raw``, which is not a message."""
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
