"""No content of a queue stops a worker: a message that is not a job becomes a dead letter with its bytes."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import kombu
import pytest
import redis

from flask_nightshift.domain.job import utcnow
from system import Process, System

pytestmark = pytest.mark.parametrize("broker", ["valkey", "rabbitmq"], indirect=True)

DEAD, RUNS = "dead", "runs"
SOON = "in two seconds"
DEEP, DEEPER = 100_000, "nested without end"


def _headers(job_id: str) -> dict[str, Any]:
    return {"lang": "py", "task": "test.pid", "id": job_id, "retries": 0, "timelimit": [None, None]}


def _body(job_id: str) -> bytes:
    return json.dumps(
        [[job_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    ).encode()


# what the header becomes, and what becomes of the message
HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "id-number": ({"id": 5}, DEAD),
    "id-missing": ({"id": None}, DEAD),
    "task-list": ({"task": ["x"]}, DEAD),
    "task-empty": ({"task": ""}, DEAD),
    "eta-mapping": ({"eta": {"a": 1}}, DEAD),
    "eta-no-time": ({"eta": "tomorrow"}, DEAD),
    "eta-number": ({"eta": 5}, DEAD),
    "expires-empty-mapping": ({"expires": {}}, DEAD),
    "expires-no-time": ({"expires": "never"}, DEAD),
    "expires-huge": ({"expires": 1e300}, DEAD),
    "retries-text": ({"retries": "x"}, DEAD),
    "retries-negative": ({"retries": -1}, DEAD),
    "retries-huge": ({"retries": 2**62}, DEAD),
    "timelimit-text": ({"timelimit": [-1, "x"]}, DEAD),
    "timelimit-number": ({"timelimit": 5}, DEAD),
    "timelimit-negative": ({"timelimit": [-5, -5]}, DEAD),
    "group-mapping": ({"group": {"a": 1}}, RUNS),
    "root-mapping": ({"root_id": {"a": 1}, "parent_id": [1]}, RUNS),
    "stamps-number": ({"stamped_headers": ["a"], "stamps": 5}, DEAD),
    "stamped-number": ({"stamped_headers": 5}, DEAD),
    "stamped-lists": ({"stamped_headers": [[1]], "stamps": {}}, DEAD),
    "shadow-number": ({"shadow": 5}, DEAD),
    "argsrepr-number": ({"argsrepr": 5, "kwargsrepr": [1]}, RUNS),
    "ignore-result-text": ({"ignore_result": "x"}, RUNS),
    "nightshift-number": ({"nightshift": 5}, RUNS),
    "nightshift-absurd": (
        {"nightshift": {
            "attempts": 5, "enqueued_at": "0001-01-01T00:00:00+14:00", "due": "9999-12-31T23:59:59-14:00",
            "run": [], "request_id": {}, "queue": {}, "lost_since": 5,
        }},
        RUNS,
    ),
    "compression-number": ({"compression": 5}, DEAD),
    "compression-unknown": ({"compression": "nope"}, DEAD),
    "delivery-count-text": ({"x-delivery-count": "many"}, RUNS),
}  # fmt: skip

# what only the envelope of Redis can say: a change of the whole message
ENVELOPES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "body-mapping": (lambda m: _set(m, body={"task": "x"}, body_encoding=None), DEAD),
    "body-list": (lambda m: _set(m, body=[[], {}, {}], body_encoding=None), DEAD),
    "body-number": (lambda m: _set(m, body=12345, body_encoding=None), DEAD),
    "body-none": (lambda m: _set(m, body=None), DEAD),
    "body-surrogate": (lambda m: _set(m, body='["\ud800"]', body_encoding=None), DEAD),
    "body-encoding-list": (lambda m: _set(m, body_encoding=["x"]), DEAD),
    "body-encoding-upper": (lambda m: _set(m, body_encoding="UTF-8"), DEAD),  # it is base64, and so no JSON
    "headers-list": (lambda m: {**m, "headers": [1]}, DEAD),
    "headers-missing": (lambda m: {**m, "headers": None}, DEAD),
    "id-surrogate": (lambda m: {**m, "headers": {**m["headers"], "id": "id-surrogate\ud800"}}, RUNS),
    "properties-missing": (lambda m: {k: v for k, v in m.items() if k != "properties"}, DEAD),
    "delivery-info-number": (lambda m: _set(m, delivery_info=5), DEAD),
    "delivery-info-absurd": (lambda m: _set(m, delivery_info={"exchange": 5, "routing_key": [1]}), RUNS),
    "correlation-mapping": (lambda m: _set(m, correlation_id={"a": 1}), RUNS),
    "reply-to-number": (lambda m: _set(m, reply_to=5), RUNS),
    "priority-infinite": (lambda m: _set(m, priority=float("inf")), RUNS),
    "priority-infinite-later": (lambda m: _set(_with(m, eta=SOON), priority=float("inf")), RUNS),
    "timelimit-infinite": (lambda m: _with(m, timelimit=[float("inf"), None]), DEAD),
    "retries-enormous": (lambda m: _with(m, retries=10**30), DEAD),
    "content-type-list": (lambda m: {**m, "content-type": ["x"]}, DEAD),
    "content-encoding-number": (lambda m: {**m, "content-encoding": 5}, RUNS),
    "deep-header": (lambda m: _with(m, stamps=_nested(500)), DEAD),
    "deeper-header": (lambda m: _with(m, stamps=DEEPER), DEAD),
    "no-object": (lambda m: [m], DEAD),
}

KEPT = {
    "body-none": b"",
    "body-surrogate": '["\ud800"]'.encode("utf-8", "surrogatepass"),
    "body-encoding-upper": base64.b64encode(_body("body-encoding-upper")),
}
"""The bytes of those whose body is not what the others have."""

# (body, dead or not): the same on every broker
BODIES: dict[str, bytes] = {
    "bytes": b"\xff\xfe not json",
    "deep": b"[" * DEEP + b"]" * DEEP,
    "text": b'"args"',
    "args-number": b"[5, {}, {}]",
    "kwargs-list": b"[[], [], {}]",
    "embed-number": b"[[], {}, 5]",
    "hybrid": b'{"args": 5, "kwargs": 5}',
    "empty": b"",
}


def _set(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """``message`` with other properties, or another body."""
    body = {"body": changes.pop("body")} if "body" in changes else {}
    return {**message, **body, "properties": {**message["properties"], **changes}}


def _with(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**message, "headers": {**message["headers"], **changes}}


def _nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def _envelope(job_id: str, body: bytes, headers: dict[str, Any]) -> dict[str, Any]:
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "body_encoding": "base64", "correlation_id": job_id, "delivery_mode": 2, "delivery_tag": job_id,
            "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0, "reply_to": "x",
        },
    }  # fmt: skip


def _everything() -> Iterator[tuple[str, bytes, dict[str, Any], str]]:
    """Name, body, headers and fate of what every broker can carry."""
    for name, (changes, fate) in HEADERS.items():
        yield name, _body(name), {**_headers(name), **changes}, fate
    for name, body in BODIES.items():
        yield f"body-{name}-raw", body, _headers(f"body-{name}-raw"), DEAD


def _post_to_redis(system: System) -> dict[str, tuple[str, list[bytes]]]:
    """Post all; returns the expected outcome of each, and the bytes to find in its dead letter."""
    sent: dict[str, tuple[str, list[bytes]]] = {}
    messages: list[tuple[str, bytes, bytes, str]] = []
    for name, body, headers, fate in _everything():
        messages.append((name, body, json.dumps(_envelope(name, body, headers)).encode(), fate))
    for name, (change, fate) in ENVELOPES.items():
        body = _body(name)
        raw = json.dumps(change(_envelope(name, body, _headers(name))))
        raw = raw.replace(SOON, (utcnow() + timedelta(seconds=2)).isoformat())
        raw = raw.replace(f'"{DEEPER}"', "[" * DEEP + "]" * DEEP)
        messages.append((name, KEPT.get(name, body), raw.encode(), fate))
    with closing(redis.Redis.from_url(system.env["NIGHTSHIFT_BROKER_URL"])) as client:
        for number, (name, body, sent_raw, fate) in enumerate(messages):
            client.lpush("celery", sent_raw)
            sent[name] = fate, [body, sent_raw]
            if number % 10 == 0:
                system.enqueue("test.pid", f"good-{number}")
                sent[f"good-{number}"] = RUNS, []
    return sent


def _post_to_rabbitmq(system: System) -> dict[str, tuple[str, list[bytes]]]:
    sent: dict[str, tuple[str, list[bytes]]] = {}
    with (
        kombu.Connection(system.env["NIGHTSHIFT_BROKER_URL"]) as connection,
        connection.Producer() as producer,
    ):
        for number, (name, body, headers, fate) in enumerate(_everything()):
            compression = headers.pop("compression", None)
            message = producer.channel.prepare_message(
                body, 0, "application/json", "utf-8",
                {**headers, "compression": compression} if compression else headers, {"delivery_mode": 2},
            )  # fmt: skip
            producer.channel.basic_publish(message, exchange="", routing_key="celery")
            sent[name] = fate, [body]
            if number % 10 == 0:
                system.enqueue("test.pid", f"good-{number}")
                sent[f"good-{number}"] = RUNS, []
    return sent


@pytest.mark.parametrize("started_by", ["worker", "celery_worker"])
def test_no_message_stops_a_worker(broker: Any, new_system: Callable[..., System], started_by: str) -> None:
    system = new_system(NIGHTSHIFT_UNKNOWN_TASK_WAIT="1")
    system.web()
    worker: Process = getattr(system, started_by)("--concurrency", "2")
    sent = (_post_to_rabbitmq if broker.url.startswith("amqp") else _post_to_redis)(system)
    running = {name for name, (fate, _) in sent.items() if fate == RUNS}
    dying = {name: raws for name, (fate, raws) in sent.items() if fate == DEAD}

    def missing() -> list[str]:
        return [name for name in running if not system.events(name)]

    try:
        system.until(lambda: not missing(), 60, "some did not run")
        system.until(lambda: len(_letters(system)) >= len(dying), 60, "some are no dead letters")
    except TimeoutError as exc:
        bodies = [body for body, _ in _letters(system)]
        alive = [name for name, raws in dying.items() if not any(raw in bodies for raw in raws)]
        raise AssertionError(
            f"{exc}; not run: {missing()}, not dead: {alive}\n{worker.log[-3000:]}"
        ) from None
    letters = _letters(system)
    for name, raws in dying.items():
        reasons = [reason for body, reason in letters if body in raws]
        assert reasons, name
        assert set(reasons) <= {"invalid", "undecodable"}, name
        assert system.events(name) == [], name
    assert len(letters) == len(dying)
    assert worker.popen.poll() is None
    assert {len(system.events(name)) for name in running} == {1}
    system.until_state(system.enqueue("test.succeed", "after"), "succeeded", 20)
    assert len(worker.log.split(" ready")) == 2, "it has connected anew"
    assert worker.stop() == 0
    assert set(_left(system).values()) == {0}, _left(system)


def test_a_job_that_crashes_the_event_loop_is_finally_buried(
    broker: Any, new_system: Callable[..., System]
) -> None:
    """Invariant 3, for unforeseen errors."""
    system = new_system(NIGHTSHIFT_DELIVERY_LIMIT="2")
    system.web()
    job_id = system.enqueue("test.succeed", "CRASH-THE-LOOP")
    for number in range(4):
        worker = system.worker("--concurrency", "1", name=f"worker{number}", wait=False)

        def ended(process: Process = worker) -> bool:
            return process.popen.poll() is not None

        system.until(lambda: ended() or system.archived(), 40, "it neither crashed nor buried the job")
        if not ended():
            break
        assert worker.popen.returncode == 1
    assert [(letter["job_id"], letter["reason"]) for letter in system.dead()] == [(job_id, "delivery_limit")]
    assert system.events("CRASH-THE-LOOP") == []
    system.until_state(system.enqueue("test.succeed", "good"), "succeeded", 30)


def _letters(system: System) -> list[tuple[bytes, str]]:
    """Body and reason of each archived dead letter."""
    with closing(sqlite3.connect(next((system.folder / "instance").glob("*.sqlite3")))) as connection:
        return list(connection.execute("select body, reason from nightshift_dead_letters"))


def _left(system: System) -> dict[str, int]:
    """The number of messages in the broker, by queue."""
    url = system.env["NIGHTSHIFT_BROKER_URL"]
    if url.startswith("amqp"):
        with kombu.Connection(url) as connection:
            channel = connection.channel()
            return {
                name: channel.queue_declare(name, passive=True).message_count
                for name in ("celery", "nightshift.dead")
            }
    with closing(redis.Redis.from_url(url)) as client:
        return {
            "celery": int(client.llen("celery")),
            "nightshift.dead": int(client.llen("nightshift.dead")),
            "delayed": int(client.zcard("nightshift:delayed:celery")),
            "leased": len(client.hvals("nightshift:leased")),
        }
