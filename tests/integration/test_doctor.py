"""The doctor finds wrong configuration, gives a remedy, and does not hang when a part is down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from opsapp import Ops, opened
from servers import Postgres, Valkey

Finding = dict[str, str]


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def nothing() -> None:
    """A task that never runs."""


def findings(ops: Ops) -> list[Finding]:
    return list(json.loads(ops.run("doctor", "--json").stdout))


def about(ops: Ops, check: str, text: str = "") -> Finding:
    """The one finding of ``check`` that says ``text``."""
    found = [f for f in findings(ops) if f["check"] == check and text in f["message"]]
    assert len(found) == 1, f"{check} {text!r}: {findings(ops)}"
    assert found[0]["level"] == "ok" or found[0]["remedy"], "no remedy"
    return found[0]


@pytest.mark.parametrize("broker", ["valkey", "redis_server", "rabbitmq"])
def test_a_healthy_system_has_no_errors_and_no_warnings(
    broker: str, request: pytest.FixtureRequest, postgres: Postgres, tmp_path: Path
) -> None:
    url = request.getfixturevalue(broker).fresh_url()
    with opened(tmp_path, url, NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as ops:
        for queue in ops.services.queues():
            ops.enqueue(queue)  # a queue exists when it was used
        ops.all_well()
        bad = [f for f in findings(ops) if f["level"] in ("error", "warning")]
        if broker == "redis_server":  # as Debian ships it, without an append-only file
            bad = [f for f in bad if f["check"] != "persistence"]
        assert bad == []
        assert ops.run("doctor").exit_code == 0


def test_doctor_with_a_frozen_broker(ops: Ops, valkey: Valkey) -> None:
    valkey.freeze()
    started = time.monotonic()
    done = ops.run("doctor")
    assert time.monotonic() - started < 15
    assert done.exit_code == 1
    assert "answer" in done.stdout
    assert "NIGHTSHIFT_BROKER_URL" in done.stdout
    assert "s3cret" not in done.output
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_doctor_with_the_database_down(valkey: Valkey, postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.fresh_url().replace(f":{postgres.port}/", ":9/")
    with opened(tmp_path, valkey.fresh_url(), migrate=False, NIGHTSHIFT_DATABASE_URL=url) as ops:
        assert about(ops, "database")["level"] == "error"
        assert "s3cret" not in ops.run("doctor").output


def test_a_database_without_tables_is_reported(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url(), migrate=False) as ops:
        found = about(ops, "database")
        assert found["level"] == "error"
        assert found["message"].count("nightshift.sqlite3") == 1
        assert "flask jobs migrate" in found["remedy"]


def test_pending_migrations_are_reported(valkey: Valkey, postgres: Postgres, tmp_path: Path) -> None:
    config = {"NIGHTSHIFT_DATABASE_URL": postgres.fresh_url()}
    with opened(tmp_path, valkey.fresh_url(), migrate=False, **config) as ops:
        found = about(ops, "migrations")
        assert (found["level"], found["remedy"]) == ("error", "Run `flask jobs migrate`.")
        assert ops.run("doctor").exit_code == 1
        ops.ok("migrate")
        assert about(ops, "migrations")["level"] == "ok"


def test_pending_migrations_of_the_apps_own_database_are_reported(
    valkey: Valkey, postgres: Postgres, tmp_path: Path
) -> None:
    config = {
        "NIGHTSHIFT_DATABASE_URL": "sqlite:///history.sqlite3",
        "SQLALCHEMY_DATABASE_URI": postgres.fresh_url(),
    }
    with opened(tmp_path, valkey.fresh_url(), migrate=False, **config) as ops:
        ops.services.store.migrate()
        found = about(ops, "migrations", "the app's own database")
        assert found["level"] == "error"
        assert f"127.0.0.1:{postgres.port}/" in found["message"]
        assert "s3cret" not in str(found)
        assert "flask jobs migrate" in found["remedy"]
        ops.ok("migrate")
        assert about(ops, "migrations")["level"] == "ok"


def test_an_index_that_the_apps_own_database_lacks_is_reported(
    valkey: Valkey, postgres: Postgres, tmp_path: Path
) -> None:
    config = {
        "NIGHTSHIFT_DATABASE_URL": "sqlite:///history.sqlite3",
        "SQLALCHEMY_DATABASE_URI": postgres.fresh_url(),
    }
    with opened(tmp_path, valkey.fresh_url(), migrate=False, **config) as ops:
        ops.ok("migrate")
        theirs = ops.services.outboxes[-1]
        with theirs.begin() as connection:
            connection.execute(text("DROP INDEX nightshift_outbox_state"))
        found = about(ops, "indexes", "nightshift_outbox_state")
        assert found["level"] == "warning"
        assert f"the app's own database, {theirs.url}" in found["message"]
        assert "s3cret" not in str(found)
        ops.ok("migrate")
        assert theirs.missing_indexes() == []


def test_an_index_that_is_missing_is_reported(valkey: Valkey, postgres: Postgres, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as ops:
        with ops.jobs.services.store.begin() as connection:
            connection.execute(text("DROP INDEX nightshift_jobs_state"))
        found = about(ops, "indexes", "nightshift_jobs_state")
        assert (found["level"], "flask jobs migrate" in found["remedy"]) == ("warning", True)


@pytest.mark.parametrize(
    ("options", "level", "says"),
    [
        ({"time_limit": None, "soft_time_limit": None}, "warning", "none for slow.task"),
        ({"time_limit": 10, "soft_time_limit": 10}, "error", "slow.task (10 >= 10 s)"),
        ({"time_limit": 900, "soft_time_limit": 800}, "info", "longer than the stop grace of 25 s"),
    ],
)
def test_time_limits(ops: Ops, options: dict[str, Any], level: str, says: str) -> None:
    ops.jobs.task(name="slow.task", **options)(nothing)
    found = about(ops, "time limits", says)
    assert found["level"] == level
    assert "slow.task" in found["message"]


@pytest.mark.parametrize(
    ("options", "says"),
    [({"max_retries": None}, "retry for ever"), ({"retry_backoff_max": 600_000}, "longer than a day")],
)
def test_retries(ops: Ops, options: dict[str, Any], says: str) -> None:
    ops.jobs.task(name="odd.task", **options)(nothing)
    found = about(ops, "retries", says)
    assert found["level"] == "warning"
    assert "odd.task" in found["message"]


def test_a_schedule_entry_with_an_unknown_task(valkey: Valkey, tmp_path: Path) -> None:
    schedule = {
        "nightly": {"task": "mail.sned", "schedule": 60},
        "good": {"task": "mail.send", "schedule": 60},
    }
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_SCHEDULE=schedule) as ops:
        found = about(ops, "schedule")
        assert found["level"] == "error"
        assert "'nightly' names the unknown task 'mail.sned'" in found["message"]
        assert found["remedy"] == "Did you mean 'mail.send'?"


def test_queues_without_a_consumer(ops: Ops) -> None:
    ops.worker_seen(queues=["celery"])
    assert about(ops, "queues")["level"] == "warning"
    ops.enqueue("mail", 2)
    found = about(ops, "queues")
    assert found["level"] == "error"
    assert "2 jobs wait in 'mail'" in found["message"]
    assert "flask jobs worker --queues mail" in found["remedy"]
    ops.worker_seen("worker@two", queues=["mail"])
    assert not [f for f in findings(ops) if f["check"] == "queues"]


def test_workers_that_differ_or_are_gone(ops: Ops) -> None:
    assert about(ops, "workers")["message"] == "none is alive"
    ops.worker_seen("worker@one", version="0.1.0")
    ops.worker_seen("worker@two", version="0.2.0")
    assert about(ops, "workers", "different versions")["level"] == "warning"
    assert (
        "SQLite is used from several hosts (one, two)" in about(ops, "database", "several hosts")["message"]
    )
    ops.worker_seen("worker@three", seen=60, loop=60)
    assert "worker@three: not heard of" in about(ops, "workers", "three")["message"]


def test_beat(ops: Ops) -> None:
    assert "never seen" in about(ops, "beat")["message"]
    ops.beat_seen(age=90)
    assert "last tick 9" in about(ops, "beat")["message"]
    ops.beat_seen()
    assert about(ops, "beat")["level"] == "ok"


def test_accepting_pickle_is_reported(valkey: Valkey, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "NIGHTSHIFT_CELERY": {"accept_content": ["json", "pickle"]},
        "NIGHTSHIFT_HTTP_ACCESS": "open",
    }
    with opened(tmp_path, valkey.fresh_url(), **config) as ops:
        assert "pickle" in about(ops, "content")["message"]
        assert about(ops, "http")["level"] == "info"


def test_an_eviction_policy_that_loses_jobs_is_reported(valkey: Valkey, ops: Ops) -> None:
    client = redis.Redis.from_url(ops.app.config["NIGHTSHIFT_BROKER_URL"])
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = about(ops, "eviction")
        assert found["level"] == "error"
        assert "noeviction" in found["remedy"]
    finally:
        client.config_set("maxmemory-policy", "noeviction")
