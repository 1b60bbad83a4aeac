"""An option that cannot be published raises an error in the caller, with the value and the remedy, on every broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from broker_harness import Harness
from resultsapp import add

CELERYS_WAY: dict[str, Any] = {"delivery_mode": 2}
"""An option that makes no difference, but is not among those that the short way knows."""
WAYS: dict[str, Callable[..., Any]] = {
    "delay": lambda **options: add.apply_async((1, 2), **options),
    "celery": lambda **options: add.apply_async((1, 2), **options, **CELERYS_WAY),
    "many": lambda **options: add.enqueue_many([(1, 2), (3, 4)], **options),
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"priority": 300}, r"priority=300 is not usable: give a whole number from 0 to 255"),
    ({"priority": "high"}, r"priority='high' is not usable: give a whole number from 0 to 255"),
    (
        {"queue": "q" * 300},
        r"queue ?= ?'q{76}.* is not usable: (give a name of 1 to 255 bytes|a queue name is)",
    ),
    ({"serializer": "pickle"}, r"serializer='pickle' is not usable: workers accept json; NIGHTSHIFT_CELERY="),
    ({"headers": {"tags": object()}}, r"headers\['tags'\]=<object .*> is not usable: give text, numbers"),
    (
        {"headers": {"deep": [{"tags": {1, 2}}]}},
        r"headers\['deep'\]=\[{'tags': {1, 2}}\] is not usable: give",
    ),
]


@pytest.mark.parametrize("way", WAYS)
def test_values_that_cannot_be_published_are_refused_by_name(harness: Harness, app: Flask, way: str) -> None:
    for options, said in REFUSED:
        with pytest.raises(ValueError, match=said):
            WAYS[way](**options)
    WAYS[way]()
    assert harness.broker.depths([harness.queue])[0].ready == (2 if way == "many" else 1)


def test_other_serializers_are_welcome_where_workers_accept_them(harness: Harness, app: Flask) -> None:
    app.extensions["celery"].conf.accept_content = ["json", "pickle"]
    add.apply_async((1, 2), serializer="pickle")
    with harness.consumer() as receive:
        message = receive()
        message.ack()
    assert message.content_type == "application/x-python-serialize"
