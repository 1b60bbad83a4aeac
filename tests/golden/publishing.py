"""One call for each way to enqueue a job."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from celery import chain, chord, group
from flask import current_app

from .app import kept, plain, shared

HOUR = 3600


def _in_a_request() -> None:
    with current_app.test_request_context(headers={"X-Request-ID": "request-1"}):
        plain.delay(1)


_DECIMAL: tuple[Any] = (Decimal("1.50"),)
WAYS: dict[str, Callable[[], Any]] = {
    "delay": lambda: plain.delay(7, name="Jörg"),
    "no-arguments": lambda: plain.delay(),
    "kept-result": lambda: kept.delay(7),
    "in-a-request": _in_a_request,
    "typed-arguments": lambda: plain.delay(
        *_DECIMAL,
        at=datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        id=uuid.UUID(int=7),
        tags=["a", None, True],
    ),
    "countdown": lambda: plain.apply_async((7,), countdown=HOUR),
    "eta": lambda: plain.apply_async(
        (7,), eta=datetime.fromtimestamp(datetime.now(UTC).timestamp() + HOUR, UTC)
    ),
    "queue": lambda: plain.apply_async((7,), queue="mail"),
    "priority": lambda: plain.apply_async((7,), priority=6),
    "expires": lambda: plain.apply_async((7,), expires=2 * HOUR),
    "headers": lambda: plain.apply_async((7,), headers={"tenant": "eu"}),
    "tags": lambda: plain.apply_async((7,), tags=["billing", "customer:7"]),
    "limits": lambda: plain.apply_async((7,), soft_time_limit=20, time_limit=30),
    "all-options": lambda: plain.apply_async(
        (7,),
        {"name": "Jörg"},
        countdown=HOUR,
        expires=2 * HOUR,
        priority=3,
        queue="mail",
        headers={"tenant": "eu"},
    ),
    "links": lambda: plain.apply_async((7,), link=kept.s(), link_error=shared.si(1)),
    "send-task": lambda: plain.app.send_task("elsewhere.task", (7,), {"name": "Jörg"}),
    "enqueue-many": lambda: plain.enqueue_many([(1,), {"number": 2}]),
    "enqueue-many-options": lambda: plain.enqueue_many(
        [(1,)], countdown=HOUR, priority=6, headers={"tenant": "eu"}
    ),
    "group": lambda: group(plain.s(1), plain.s(2)).apply_async(),
    "chain": lambda: chain(plain.s(1), kept.s(), shared.si(3)).apply_async(),
    "chord": lambda: chord([kept.s(1), kept.s(2)], plain.si(3)).apply_async(),
    "shared-task": lambda: shared.delay(7),
}
