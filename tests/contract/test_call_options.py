"""The options and arguments of a call: wrong ones are refused by name, on every way to a broker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import chain, chord, group, signature
from flask import Flask
from kombu.exceptions import EncodeError

from broker_harness import Harness
from resultsapp import add, total

CELERYS_WAY: dict[str, Any] = {"delivery_mode": 2}
WAYS: dict[str, Callable[..., Any]] = {
    "delay": lambda **options: add.apply_async((1, 2), **options),
    "celery": lambda **options: add.apply_async((1, 2), **options, **CELERYS_WAY),
    "by name": lambda **options: add.app.send_task("results.add", (1, 2), **options),
    "signature": lambda **options: add.s(1, 2).set(**options).delay(),
    "chain": lambda **options: chain(add.s(1, 2), add.s(3).set(**options)).delay(),
    "group": lambda **options: group(add.s(1, 2).set(**options), add.s(1, 2)).delay(),
    "body": lambda **options: chord([add.s(1, 2), add.s(3, 4)], total.s().set(**options)).delay(),
    "link": lambda **options: add.apply_async((1, 2), link=chain(add.s(1), add.s(2).set(**options))),
    "eager": lambda **options: add.apply((1, 2), **options),
}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"coutdown": 60}, r"coutdown=60 is not usable: there is no such option; did you mean 'countdown'\?"),
    ({"countdown": "60"}, "countdown='60' is not usable: give seconds"),
    ({"countdown": 1e12}, "countdown=1000000000000.0 is not usable: give seconds, at most 268435455"),
    ({"eta": "tomorrow"}, "eta='tomorrow' is not usable: give a datetime or an ISO 8601 text"),
    ({"expires": "soon"}, "expires='soon' is not usable: give seconds, a timedelta"),
    ({"time_limit": "30"}, "time_limit='30' is not usable: give seconds"),
    ({"soft_time_limit": -1}, "soft_time_limit=-1 is not usable: give seconds"),
    ({"soft_time_limit": 9, "time_limit": 8}, "soft_time_limit=9 is not usable: it must not be above time_limit=8"),
    ({"headers": [1]}, r"headers=\[1\] is not usable: give a dict"),
    ({"ignore_result": "yes"}, "ignore_result='yes' is not usable: give True or False"),
    ({"link": "results.add"}, "link='results.add' is not usable: give a signature"),
    ({"tags": "billing"}, "tags='billing' is not usable: give a list of at most 10 printable texts"),
    ({"idempotency_key": "7"}, "idempotency_key='7' is not usable: it is an option of a task, so set it where"),
    ({"acks_late": False}, "acks_late=False is not usable: it is an option of a task"),
    ({"task_id": 7}, "task_id=7 is not usable: give a name of 1 to 255 bytes"),
]  # fmt: skip


def test_a_wrong_option_of_a_call_is_refused_before_anything_is_sent(harness: Harness, app: Flask) -> None:
    for way in WAYS:
        refuses(way)
    assert harness.broker.depths([harness.queue])[0].ready == 0


def refuses(way: str) -> None:
    later = way in ("chain", "body", "link")  # what the worker sends when the first job is done
    for options, said in REFUSED:
        if (later or way == "eager") and len(options) == 2:
            continue  # the task's own limits are looked at when it is sent
        if way not in ("delay", "celery", "by name", "eager") and options.keys() & {"link", "task_id"}:
            continue  # a signature has its own ways to set these
        with pytest.raises(ValueError, match=said):
            WAYS[way](**options)


def test_the_retries_of_a_chord_are_no_option_of_a_task(harness: Harness, app: Flask) -> None:
    """Celery's ``chord_unlock`` is retried so often; header and body get the option, too."""
    counted = chord([add.s(1, 2), add.s(3, 4)], total.s()).set(max_retries=9)
    assert chain(add.s(1, 2), counted).delay().id
    assert chord([add.s(1, 2), add.s(3, 4)], total.s()).apply_async(max_retries=9).id


class Order:
    """As a model is: nothing that JSON knows."""

    def __repr__(self) -> str:
        return "<Order 5>"


def test_an_argument_that_cannot_be_sent_is_named(harness: Harness, app: Flask) -> None:
    order = r"<Order 5>, which cannot be sent as json \(.*\): pass its id, and load it in the task"
    unencodable_argument: Any = Order()
    unordered: Any = {2}
    raw: tuple[Any, Any] = (b"bytes", b"\xff")
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: add.delay(unencodable_argument, 2), rf"the argument 'a' of results\.add is {order}"),
        (lambda: add.delay(1, b=unencodable_argument), rf"the argument 'b' of results\.add is {order}"),
        (lambda: add.delay(1, unordered), r"the argument 'b' of results\.add is \{2\}, which cannot be sent"),
        (
            lambda: add.apply_async((1, [Order()]), **CELERYS_WAY),
            r"the argument 'b' of results\.add is \[<Order 5>\]",
        ),
        (lambda: add.enqueue_many([(1, 2), (3, Order())]), rf"the argument 'b' of results\.add is {order}"),
        (
            lambda: signature("results.unknown", (Order(),), app=add.app).delay(),
            r"argument 1 of results\.unknown is",
        ),
    ]
    for call, said in calls:
        with pytest.raises(EncodeError, match=said):
            call()
    assert harness.broker.depths([harness.queue])[0].ready == 0
    add.delay(*raw)  # kombu's JSON has a form for them
    with harness.consumer() as receive:
        message = receive()
        message.ack()
    assert message.payload[0] == [b"bytes", b"\xff"]


def test_a_time_limit_of_one_call_brings_the_other_one_along(harness: Harness, app: Flask) -> None:
    cases: list[tuple[dict[str, Any], list[float]]] = [
        ({"time_limit": 10}, [10, 9]),
        ({"soft_time_limit": 400}, [430, 400]),
        ({"time_limit": 900}, [900, 300]),
        ({}, [330, 300]),
        ({"expires": timedelta(minutes=1)}, [330, 300]),
    ]
    for options, expected in cases:
        for way in ("delay", "celery", "by name", "signature"):
            WAYS[way](**options)
            with harness.consumer() as receive:
                message = receive()
                message.ack()
            assert message.headers["timelimit"] == expected, (way, options)
