"""``delay()`` and ``enqueue_many()`` take shorter ways than Celery's producer, and publish the same messages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
from celery import Task, signals
from celery.canvas import StampingVisitor
from flask import Flask
from kombu.exceptions import EncodeError
from kombu.serialization import register
from kombu.utils import json as kombu_json

from broker_harness import Harness
from flask_nightshift.brokers.base import PUBLISH_TIMEOUT
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message.headers import ABSENT
from flask_nightshift.services import current
from resultsapp import add, total

CELERYS_WAY: dict[str, Any] = {"delivery_mode": 2}
"""An option that makes no difference, but is not among those that the short way knows."""


def seen(message: Any) -> dict[str, Any]:
    """A message as Celery reads it, without what differs between any two: ids, times, the delivery."""
    message.ack()
    headers = {
        key: value for key, value in {**ABSENT, **message.headers}.items() if key not in ("id", "root_id")
    }
    headers["nightshift"] = {**headers["nightshift"], "enqueued_at": None}
    args, kwargs, embed = message.payload
    times = {key: bool(headers.pop(key, None)) for key in ("eta", "expires")}
    skipped = ("correlation_id", "delivery_info", "delivery_tag", "expiration", "application_headers")
    properties = {key: value for key, value in message.properties.items() if key not in skipped}
    properties["priority"] = properties.get("priority") or 0  # Celery leaves it out now and then
    assert message.headers["root_id"] == message.headers["id"] == message.properties["correlation_id"]
    return {"headers": headers, "times": times, "properties": properties,
            "payload": [args, kwargs, {**dict.fromkeys(("callbacks", "errbacks", "chain", "chord")), **embed}],
            "content": (message.content_type, message.content_encoding)}  # fmt: skip


@contextmanager
def connected(signal: Any, receiver: Any) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 6},
        {"expires": 600},
        {"headers": {"tenant": "acme"}},
        {"time_limit": 9, "soft_time_limit": 7, "shadow": "other.name"},
        {"link": "total", "link_error": "total", "retries": 2, "group_id": "g", "ignore_result": True},
        {"queue": "elsewhere"},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_the_short_way_leads_to_the_same_message(
    harness: Harness, app: Flask, options: dict[str, Any]
) -> None:
    options = {key: total.s() if value == "total" else value for key, value in options.items()}
    queue = "elsewhere" if "queue" in options else harness.queue
    with harness.consumer(queue) as receive:
        add.apply_async((3, 4), **options)  # the following one is made like it
        receive().ack()
        short = add.apply_async((1, 2), **options)
        ours = seen(receive())
        long = add.apply_async((1, 2), **options, **CELERYS_WAY)
        assert ours == seen(receive())
    assert type(short) is type(long)
    assert short.ignored == long.ignored


def test_options_of_one_call_do_not_leak_into_the_next(harness: Harness, app: Flask) -> None:
    with harness.consumer() as receive:
        for limits in ([9, 7], [8, 6], [9, 7]):
            add.apply_async((1, 2), time_limit=limits[0], soft_time_limit=limits[1])
            assert seen(receive())["headers"]["timelimit"] == limits
        add.delay(1, 2)
        assert seen(receive())["headers"]["timelimit"] == [add.time_limit, add.soft_time_limit]


def test_a_receiver_s_change_to_one_job_does_not_affect_the_next(harness: Harness, app: Flask) -> None:
    def meddle(headers: Any, body: Any, **_: Any) -> None:
        headers["timelimit"][0] = 1
        body[2]["chain"] = ["forged"]

    with harness.consumer() as receive:
        add.delay(1, 2)
        before = seen(receive())
        with connected(signals.before_task_publish, meddle):
            add.delay(1, 2)
            assert seen(receive())["headers"]["timelimit"][0] == 1
        add.delay(1, 2)
        assert seen(receive()) == before


@pytest.mark.parametrize("way", [{}, CELERYS_WAY], ids=["ours", "celerys"])
@pytest.mark.parametrize("rest", [None, "text"], ids=["removes", "replaces"])
def test_a_receiver_may_take_any_header_away(
    harness: Harness, app: Flask, way: dict[str, Any], rest: str | None
) -> None:
    """Without these headers Celery's workers fail or wait for ever, or ours could not settle the job."""

    def meddle(headers: Any, **_: Any) -> None:
        for name in list(headers):
            if name not in ("eta", "lang", "stamps", "group") and not (rest and name in ("id", "task")):
                headers.pop(name)
                if rest and name == "nightshift":
                    headers[name] = rest

    with harness.consumer() as receive, connected(signals.before_task_publish, meddle):
        result = add.apply_async((1, 2), tags=["kept"], **way)
        message = receive()
        message.ack()
        assert (message.headers["id"], message.headers["task"]) == (result.id, add.name)
        assert message.headers["nightshift"]["tags"] == ["kept"]
        if not way:
            add.enqueue_many([(1, 2), (3, 4)])
            for _ in range(2):
                message = receive()
                message.ack()
                assert message.headers["nightshift"]["queue"] == harness.queue


def test_a_message_names_the_process_and_thread_of_its_origin(harness: Harness, app: Flask) -> None:
    def enqueue() -> None:
        with app.app_context():
            add.delay(1, 2)

    with harness.consumer() as receive:
        enqueue()
        first = receive()
        thread = Thread(target=enqueue)
        thread.start()
        thread.join()
        second = receive()
        first.ack()
        second.ack()
        assert first.properties["reply_to"] != second.properties["reply_to"]
        assert first.headers["origin"] == second.headers["origin"]
        if not harness.can.shared:
            return
        child = os.fork()
        if not child:
            try:
                enqueue()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        third = receive()
        third.ack()
        assert f"gen{child}@" in third.headers["origin"]


def test_a_delay_is_the_same_either_way(harness: Harness, app: Flask) -> None:
    if not harness.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    with harness.consumer() as receive:
        add.apply_async((1, 2), countdown=1)
        ours = seen(receive())
        add.apply_async((1, 2), eta=utcnow() + timedelta(seconds=1), **CELERYS_WAY)
        theirs = seen(receive())
    assert ours["payload"] == theirs["payload"]
    assert ours["headers"].keys() == theirs["headers"].keys()


def test_stamps_are_kept(harness: Harness, app: Flask) -> None:
    class Stamp(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"order": "17", "stamped_headers": ["order"]}

    signature = add.s(1, 2)
    signature.stamp(Stamp())
    with harness.consumer() as receive:
        signature.apply_async()
        message = receive()
        message.ack()
    assert message.headers["stamps"] == {"order": "17"}


def test_signals_are_sent_and_may_change_the_message(harness: Harness, app: Flask) -> None:
    told: list[tuple[str, str, str]] = []

    def before(sender: str, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        headers["trace"] = "abc"
        told.append(("before", sender, routing_key))

    def after(sender: str, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        told.append(("after", sender, routing_key))

    def published(**options: Any) -> list[Any]:
        told.clear()
        add.apply_async((1, 2), **options)
        message = receive()
        message.ack()
        return [message.headers["trace"], *told]

    with connected(signals.before_task_publish, before), connected(signals.after_task_publish, after):
        with harness.consumer() as receive:
            ours = published()
            assert ours == published(**CELERYS_WAY)
        assert [when for when, *_ in ours[1:]] == ["before", "after"]


def test_routes_of_the_user_decide(harness: Harness, app: Flask) -> None:
    celery = current().celery
    celery.conf.task_routes = ({"results.add": {"queue": "routed"}}, *celery.conf.task_routes)
    with harness.consumer("routed") as receive:
        add.delay(1, 2)
        message = receive()
        message.ack()
    assert message.payload[0] == [1, 2]


def test_many_jobs_are_enqueued_in_their_order(harness: Harness, app: Flask) -> None:
    count = 1_200  # more than one step
    ids = add.enqueue_many([(n, 1) for n in range(count - 1)] + [{"a": 5, "b": 6}])
    assert len(set(ids)) == count
    with harness.consumer(prefetch=100) as receive:
        got = []
        for _ in range(count):
            message = receive(20)
            got.append((message.headers["id"], message.payload[0], message.payload[1]))
            message.ack()
        assert receive(0.3) is None
    assert [job_id for job_id, *_ in got] == ids
    assert [args for _, args, _ in got] == [[n, 1] for n in range(count - 1)] + [[]]
    assert got[-1][2] == {"a": 5, "b": 6}


def test_each_of_many_is_the_message_of_a_delay(harness: Harness, app: Flask) -> None:
    with harness.consumer() as receive:
        add.apply_async((1, 2), priority=3, expires=60)
        one = seen(receive())
        add.enqueue_many([(1, 2), (1, 2)], priority=3, expires=60)
        assert [seen(receive()), seen(receive())] == [one, one]


def test_many_delayed_jobs_come_when_they_are_due(harness: Harness, app: Flask) -> None:
    if not harness.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    with harness.consumer() as receive:
        enqueued = utcnow()
        add.enqueue_many([(1, 1), (2, 2)], countdown=2)
        assert receive(1) is None
        got = [receive(10), receive(10)]
        assert (utcnow() - enqueued).total_seconds() >= 2
        for message in got:
            message.ack()
    assert [message.payload[0] for message in got] == [[1, 1], [2, 2]]


def test_one_bad_item_among_many_enqueues_nothing(harness: Harness, app: Flask) -> None:
    for bad, said in [
        ((1, 2, 3), "item 1 of enqueue_many(), (1, 2, 3)"),
        ("text", "item 1 of enqueue_many() is 'text'"),
        ((1, object()), "object"),
    ]:
        with pytest.raises((TypeError, EncodeError)) as caught:
            add.enqueue_many([(1, 2), bad])
        assert said in str(caught.value)
    with pytest.raises(TypeError, match=r"does not take exchange; it takes countdown"):
        add.enqueue_many([(1, 2)], exchange="x")
    assert add.enqueue_many([]) == []
    assert harness.broker.depths([harness.queue])[0].ready == 0


@pytest.mark.parametrize("trouble", ["stop", "freeze"])
def test_many_jobs_are_refused_in_time_while_the_broker_is_down(
    harness: Harness, app: Flask, trouble: str
) -> None:
    add.enqueue_many([(1, 1), (2, 2)])
    getattr(harness.server, trouble)()
    for _ in range(3):  # on a busy machine it may be late, but not again and again
        began = utcnow()
        with pytest.raises(BrokerUnavailable) as caught:
            add.enqueue_many([(n, n) for n in range(600)])
        took = (utcnow() - began).total_seconds()
        assert caught.value.enqueued == ()
        if took < PUBLISH_TIMEOUT:
            return
    pytest.fail(f"three times it took too long, at last {took} s")


@pytest.fixture
def own_json() -> Iterator[None]:
    """The app registers a serializer of its own as ``json``, as apps do for types that JSON lacks."""
    content_type, encoding = "application/json", "utf-8"
    register(
        "json", lambda value: json.dumps({"own": value}), lambda text: json.loads(text)["own"], content_type
    )
    yield
    register("json", kombu_json.dumps, kombu_json.loads, content_type, encoding)


@pytest.mark.usefixtures("own_json")
def test_an_apps_own_json_serializer_writes_and_reads(harness: Harness, app: Flask) -> None:
    with harness.consumer() as receive:
        add.delay(1, 2)
        add.enqueue_many([(1, 2), (1, 2)])
        for message in (receive(), receive(), receive()):
            assert json.loads(message.body)["own"][0] == [1, 2]
            assert message.payload[:2] == [[1, 2], {}]
            message.ack()


one_broker = pytest.mark.parametrize("harness", ["memory"], indirect=True)
"""For tests of what happens before the broker."""


@one_broker
def test_delay_calls_an_apply_async_that_a_tool_has_replaced(
    harness: Harness, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, celerys = [], Task.apply_async

    def traced(self: Any, *args: Any, **options: Any) -> Any:
        called.append(self.name)
        return celerys(self, *args, **options)

    monkeypatch.setattr(Task, "apply_async", traced)
    add.delay(1, 2)
    assert called == [add.name]


@one_broker
def test_delay_asks_a_task_for_its_shadow_name(
    harness: Harness, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(add._find()), "shadow_name", lambda self, args, kwargs, options: f"add {args}")
    with harness.consumer() as receive:
        add.delay(1, 2)
        assert receive().headers["shadow"] == "add (1, 2)"


@one_broker
def test_delay_checks_the_arguments(harness: Harness, app: Flask) -> None:
    with pytest.raises(TypeError, match="missing"):
        add.delay(1)  # type: ignore[call-arg]


@one_broker
def test_delay_in_eager_mode_runs_the_body(harness: Harness, app: Flask) -> None:
    celery = current().celery
    celery.conf.task_always_eager = True
    assert add.delay(1, 2).get() == 3
    celery.conf.task_always_eager = False
    with harness.consumer() as receive:
        add.delay(1, 2)
        assert receive() is not None


@one_broker
def test_a_wrong_option_is_refused_also_after_an_equal_one(harness: Harness, app: Flask) -> None:
    add.apply_async((1, 2), time_limit=1, soft_time_limit=1)
    with pytest.raises(ValueError, match="time_limit=True"):
        add.apply_async((1, 2), time_limit=True, soft_time_limit=1)
    with pytest.raises(ValueError, match="task_id"):
        add.apply_async((1, 2), task_id=5)  # type: ignore[arg-type]


@one_broker
def test_a_changed_limit_of_the_task_reaches_the_next_message(
    harness: Harness, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with harness.consumer() as receive:
        for limit in (330, 7, 330):
            current().celery.clear_derived_settings()
            monkeypatch.setattr(add._find(), "time_limit", limit)
            monkeypatch.setattr(add._find(), "soft_time_limit", limit - 2)
            add.delay(1, 2)
            assert receive().headers["timelimit"] == [limit, limit - 2]
