"""A message of the lease transport is kombu's, attribute for attribute, although ours is made in fewer steps."""

from __future__ import annotations

import base64
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport.virtual import base

from flask_nightshift.brokers.redis.transport.message import Message

BODY = base64.b64encode(b"[[1], {}, {}]").decode()
SMALL = base64.b64encode(zlib.compress(b"[[1], {}, {}]")).decode()
CHANNEL = SimpleNamespace(
    decode_body=lambda body, encoding=None: base.Base64().decode(body) if encoding else body
)


def payload(body: Any = BODY, encoding: Any = "base64", headers: Any = None, **info: Any) -> dict[str, Any]:
    headers = {"id": "1", "task": "add"} if headers is None else headers
    properties: dict[str, Any] = {"delivery_tag": 7, "delivery_info": {"exchange": "", **info}}
    if encoding:
        properties["body_encoding"] = encoding
    return {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": properties,
    }


PAYLOADS = {
    "ordinary": payload(),
    "delivered before": payload(headers={"id": "1", "x-delivery-count": 2}, redelivered=True),
    "compressed": payload(SMALL, headers={"compression": "application/x-gzip"}),
    "broken compression": payload(headers={"compression": "application/x-gzip"}),
    "text": payload("[[1], {}, {}]", None),
    "no body": payload(None),
    "empty body": payload("", "base64"),
    "no headers": payload(headers={}),
    "no delivery info": {**payload(), "properties": {"delivery_tag": 7, "body_encoding": "base64"}},
    "no content type": {"body": BODY, "headers": {"id": "1"}, "properties": payload()["properties"]},
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_it_has_what_kombus_has(name: str) -> None:
    ours, kombus = Message(PAYLOADS[name], channel=CHANNEL), base.Message(PAYLOADS[name], channel=CHANNEL)
    assert _state(ours) == _state(kombus)


def test_it_knows_the_queue_that_it_came_from() -> None:
    assert Message(payload(queue="mail"), channel=CHANNEL).job_queue == "mail"
    assert not hasattr(Message(payload(), channel=CHANNEL), "job_queue")


def _state(message: Any) -> dict[str, Any]:
    names = [name for name in base.base.Message.__slots__ if name != "__dict__"]
    found = {name: getattr(message, name) for name in [*names, "_raw", "acknowledged"]}
    return {**found, "errors": [kind for kind, _, _ in message.errors or ()], "set": sorted(vars(message))}
