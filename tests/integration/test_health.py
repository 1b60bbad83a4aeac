"""Health is correct, answers within a time limit, and shows details only to permitted callers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.observe import health
from opsapp import Ops, opened
from servers import Postgres, Server, Valkey

PARTS = ["broker", "database", "queues", "outbox", "workers", "beat"]


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


@pytest.fixture
def on_postgres(valkey: Valkey, postgres: Postgres, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as made:
        yield made


def states(body: dict[str, Any]) -> dict[str, str]:
    return {name: part["status"] for name, part in body["parts"].items()}


def fresh(ops: Ops, **options: Any) -> dict[str, Any]:
    """A check without the cache."""
    return health.check(ops.services, **options).as_dict()


@pytest.mark.parametrize("broker", ["valkey", "redis_server", "rabbitmq"])
def test_health_with_all_parts_working(
    broker: str, request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path
) -> None:
    url = request.getfixturevalue(broker).fresh_url()
    with opened(tmp_path, url, NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as ops:
        ops.all_well()
        answer = ops.get("/health/ready")
        assert answer.status_code == 200
        assert answer.json["status"] == "ready"
        assert states(answer.json) == dict.fromkeys(PARTS, "ok")
        assert all(0 < part["latency_ms"] < 2000 for part in answer.json["parts"].values())
        product = {"valkey": "Valkey", "redis_server": "Redis", "rabbitmq": "RabbitMQ"}[broker]
        assert answer.json["parts"]["broker"]["detail"].startswith(product)


def test_health_without_any_heartbeat(ops: Ops) -> None:
    answer = ops.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json["status"] == "unavailable"
    assert states(answer.json) == {
        "broker": "ok", "database": "ok", "queues": "ok", "outbox": "ok", "workers": "fail", "beat": "fail",
    }  # fmt: skip
    assert "never seen" in answer.json["parts"]["beat"]["detail"]


def test_the_live_page_queries_no_server(ops: Ops, valkey: Valkey) -> None:
    valkey.freeze()
    started = time.monotonic()
    answer = ops.get("/health/live", remote="203.0.113.9")
    assert answer.status_code == 200
    assert answer.json == {"status": "live"}
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("seen", "loop", "fields", "ok", "says"),
    [
        (0, 0, {}, True, "1 healthy (worker@one)"),
        (20, 20, {}, False, "not heard of for 20 s"),
        (0, 40, {}, False, "stuck for 40 s"),
        (0, 40, {"pool": "solo"}, False, "stuck for 40 s"),
        (0, 40, {"pool": "solo", "busy": [{"time_limit": 60}]}, True, "1 healthy"),
        (0, 40, {"pool": "solo", "busy": [{"time_limit": 10}]}, False, "stuck for 40 s"),
    ],
)
def test_a_worker_that_is_gone_or_stuck_is_unhealthy(
    ops: Ops, seen: float, loop: float, fields: dict[str, Any], ok: bool, says: str
) -> None:
    for job in fields.get("busy", ()):
        job.update(job_id="j", task="mail.send", started_at=time.time() - 40)
    ops.worker_seen(seen=seen, loop=loop, **fields)
    part = fresh(ops, parts=["workers"])["parts"]["workers"]
    assert (part["status"] == "ok") is ok
    assert says in part["detail"]


def test_one_worker_alone_can_be_asked_about(ops: Ops) -> None:
    ops.worker_seen("worker@one")
    ops.worker_seen("worker@two", loop=60)
    assert health.check(ops.services, ["workers"]).ok
    assert "worker@two: its loop" in fresh(ops, parts=["workers"])["parts"]["workers"]["detail"]
    assert health.check(ops.services, ["workers"], worker="worker@one").ok
    assert not health.check(ops.services, ["workers"], worker="worker@two").ok
    assert not health.check(ops.services, ["workers"], worker="two").ok
    assert not health.check(ops.services, ["workers"], worker="three").ok


def test_a_beat_that_stopped_ticking_is_unhealthy(ops: Ops) -> None:
    ops.beat_seen(age=29)
    assert health.check(ops.services, ["beat"]).ok
    ops.beat_seen(age=31)
    assert "last tick 31 s ago" in fresh(ops, parts=["beat"])["parts"]["beat"]["detail"]
    assert not health.check(ops.services, ["beat"]).ok


@pytest.mark.parametrize(
    ("broker", "fault"), [("valkey", "freeze"), ("valkey", "stop"), ("rabbitmq", "freeze")]
)
def test_a_broker_that_is_down_fails_only_its_parts_and_in_time(
    broker: str, fault: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue(broker)
    with opened(tmp_path, server.fresh_url()) as ops:
        ops.all_well()
        assert ops.get("/health/ready").status_code == 200
        getattr(server, fault)()
        time.sleep(health.HEALTH_SECONDS / 2)  # the answer of before is used for a second
        threads = threading.active_count()
        for _ in range(3):
            started = time.monotonic()
            answer = ops.get("/health/ready")
            assert time.monotonic() - started < health.HEALTH_SECONDS + 0.5
            assert answer.status_code == 503
            failed = {"broker"} if broker == "rabbitmq" else {"broker", "queues"}  # it keeps the pauses
            assert states(answer.json) == {part: "fail" if part in failed else "ok" for part in PARTS}
            assert "s3cret" not in answer.get_data(as_text=True)
        assert threading.active_count() <= threads
        server.ensure()
        deadline = time.monotonic() + 15
        while not health.check(ops.services, ["broker"]).ok:
            assert time.monotonic() < deadline, "the broker is back and the check does not see it"


@pytest.mark.parametrize("fault", ["freeze", "stop"])
def test_a_database_that_is_down_fails_its_parts_and_in_time(
    on_postgres: Ops, postgres: Postgres, fault: str
) -> None:
    ops = on_postgres
    ops.all_well()
    assert health.check(ops.services).ok
    getattr(postgres, fault)()
    started = time.monotonic()
    report = health.check(ops.services)
    assert time.monotonic() - started < health.HEALTH_SECONDS + 0.5
    assert states(report.as_dict()) == {**dict.fromkeys(PARTS, "fail"), "broker": "ok", "queues": "ok"}
    assert "s3cret" not in str(report.as_dict())


def test_an_answer_is_shared_for_a_second(ops: Ops) -> None:
    ops.all_well()
    first = ops.get("/health/ready").json
    assert ops.get("/health/ready").json["parts"]["broker"] == first["parts"]["broker"]
    time.sleep(1.1)
    assert ops.get("/health/ready").json["parts"]["broker"] != first["parts"]["broker"]


def test_parts_can_be_chosen(ops: Ops) -> None:
    answer = ops.get("/health/ready?part=broker&part=database")
    assert answer.status_code == 200
    assert states(answer.json) == {"broker": "ok", "database": "ok"}
    assert ops.get("/health/ready?part=beat").status_code == 503
    wrong = ops.get("/health/ready?part=nonsense")
    assert wrong.status_code == 400
    assert "broker, database, queues, outbox, workers, beat" in wrong.json["message"]


@pytest.mark.parametrize(
    "caller",
    [
        {"remote": "203.0.113.9"},
        {"remote": "10.0.0.7"},
        {"X_Forwarded_For": "127.0.0.1"},
        {"X_Real_IP": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"host": "rebound.example"},
        {"Authorization": "Bearer guess"},
        {"remote": ""},
    ],
)
def test_a_stranger_learns_the_status_and_nothing_else(ops: Ops, caller: dict[str, str]) -> None:
    if "Authorization" in caller:
        caller["remote"] = "203.0.113.9"
    answer = ops.get("/health/ready", **caller)
    assert answer.status_code == 503
    assert answer.json == {"status": "unavailable"}
    assert ops.get("/metrics", **caller).status_code == 403


@pytest.mark.parametrize(
    ("remote", "host"),
    [
        ("127.0.0.1", "localhost:8000"),
        ("::1", "[::1]:8000"),
        ("127.0.0.2", "127.0.0.1"),
        ("::ffff:127.0.0.1", "localhost"),
    ],
)
def test_local_callers_may_see_details(ops: Ops, remote: str, host: str) -> None:
    assert "parts" in ops.get("/health/ready", remote=remote, host=host).json
    assert ops.get("/metrics", remote=remote, host=host).status_code == 200


@pytest.mark.parametrize(
    ("access", "token", "caller", "knows"),
    [
        ("local", "t0ken", {"remote": "203.0.113.9", "Authorization": "Bearer t0ken"}, True),
        ("local", "t0ken", {"remote": "203.0.113.9", "Authorization": "Basic t0ken"}, False),
        ("token", "t0ken", {"Authorization": "bearer t0ken"}, True),
        ("token", "t0ken", {"Authorization": "Bearer t0kem"}, False),
        ("token", "t0ken", {}, False),
        ("open", None, {"remote": "203.0.113.9", "X_Forwarded_For": "198.51.100.1"}, True),
    ],
)
def test_access_to_details_is_configurable(
    valkey: Valkey, tmp_path: Path, access: str, token: str | None, caller: dict[str, str], knows: bool
) -> None:
    config: dict[str, Any] = {"NIGHTSHIFT_HTTP_ACCESS": access, "NIGHTSHIFT_HTTP_TOKEN": token}
    with opened(tmp_path, valkey.fresh_url(), **config) as ops:
        assert ("parts" in ops.get("/health/ready", **caller).json) is knows
        assert ops.get("/metrics", **caller).status_code == (200 if knows else 403)


def test_off_removes_the_pages(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_HTTP_ACCESS="off") as ops:
        assert {ops.get(path).status_code for path in ("/health/live", "/health/ready", "/metrics")} == {404}


def test_a_url_prefix_moves_all_three_pages(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_URL_PREFIX="/internal") as ops:
        assert ops.get("/internal/health/live").status_code == 200
        assert ops.get("/health/live").status_code == 404


def test_the_command_exits_with_what_it_says(ops: Ops) -> None:
    sick = ops.run("health")
    assert sick.exit_code == 1
    assert "workers   FAIL" in sick.stdout
    ops.all_well()
    assert ops.run("health").exit_code == 0
    assert states(ops.json("health")) == dict.fromkeys(PARTS, "ok")
    assert states(ops.json("health", "--part", "beat")) == {"beat": "ok"}
    assert ops.run("health", "--worker", "one").exit_code == 0
    assert ops.run("health", "--worker", "two").exit_code == 1
    assert ops.run("health", "--part", "nonsense").exit_code == 2


def test_the_command_does_not_wait_longer_than_its_timeout(ops: Ops, valkey: Valkey) -> None:
    valkey.freeze()
    started = time.monotonic()
    assert ops.run("health", "--part", "broker", "--timeout", "0.5").exit_code == 1
    assert time.monotonic() - started < 1
