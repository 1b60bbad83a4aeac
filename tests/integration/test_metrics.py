"""Metrics cover the cluster, survive restarts, and leave out unknown values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from flask_nightshift.domain.events import JobDied, JobSucceeded
from flask_nightshift.domain.job import Failure, JobRef, Reason, utcnow
from flask_nightshift.journal import recorder
from opsapp import Ops, opened
from servers import Postgres, Valkey, wait_for

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def samples(text: str, parse: Any = classic) -> Samples:
    return {(s.name, frozenset(s.labels.items())): s.value for family in parse(text) for s in family.samples}


def scrape(ops: Ops) -> Samples:
    answer = ops.get("/metrics")
    assert answer.status_code == 200
    return samples(answer.get_data(as_text=True))


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def names(found: Samples) -> set[str]:
    return {name for name, _ in found}


def test_totals_and_histograms_are_what_happened(ops: Ops) -> None:
    for seconds in (0.02, 0.2, 3.0):
        ops.ran(runtime=seconds, wait=0.3)
    ops.ran(outcome="retried", runtime=0.2)
    ops.ran(outcome="dead", runtime=0.2)
    ops.flush()
    found = scrape(ops)
    mail = {"task": "mail.send", "queue": "mail"}
    assert found[key("nightshift_jobs_total", outcome="succeeded", **mail)] == 3
    assert found[key("nightshift_jobs_total", outcome="retried", **mail)] == 1
    assert found[key("nightshift_jobs_total", outcome="dead", **mail)] == 1
    runtime = "nightshift_job_runtime_seconds"
    assert found[key(f"{runtime}_count", **mail)] == 5
    assert found[key(f"{runtime}_sum", **mail)] == pytest.approx(3.62)
    below = {
        le: found[key(f"{runtime}_bucket", le=le, **mail)]
        for le in ("0.01", "0.05", "0.25", "2.5", "5.0", "+Inf")
    }
    assert below == {"0.01": 0, "0.05": 1, "0.25": 4, "2.5": 4, "5.0": 5, "+Inf": 5}
    assert found[key("nightshift_job_wait_seconds_count", **mail)] == 5
    assert found[key("nightshift_job_wait_seconds_sum", **mail)] == pytest.approx(0.96)


def test_a_tasks_first_failure_is_an_increase(ops: Ops) -> None:
    ops.ran()
    ops.flush()
    mail = {"task": "mail.send", "queue": "mail"}
    before = scrape(ops)
    assert before[key("nightshift_jobs_total", outcome="dead", **mail)] == 0
    assert before[key("nightshift_jobs_total", outcome="retried", **mail)] == 0
    ops.ran(outcome="dead")
    ops.flush()
    assert scrape(ops)[key("nightshift_jobs_total", outcome="dead", **mail)] == 1


def test_totals_are_the_same_from_another_process_and_after_a_restart(ops: Ops, tmp_path: Path) -> None:
    ops.ran()
    ops.flush()
    with opened(tmp_path, ops.app.config["NIGHTSHIFT_BROKER_URL"]) as another:
        another.ran()
        another.flush()
        total = key("nightshift_jobs_total", task="mail.send", queue="mail", outcome="succeeded")
        assert scrape(another)[total] == scrape(ops)[total] == 2


@pytest.mark.parametrize("broker", ["valkey", "redis_server", "rabbitmq"])
def test_metrics_of_the_broker(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with opened(tmp_path, request.getfixturevalue(broker).fresh_url()) as ops:
        ops.enqueue("mail", 3)
        ops.services.broker.publish(ops.message("later"), "mail", due=utcnow() + timedelta(hours=1))
        # each part has a time limit, which a busy machine may pass
        wait_for(
            lambda: key("nightshift_delayed") in scrape(ops), 30, "the number of delayed jobs is not known"
        )
        found = scrape(ops)
        assert found[key("nightshift_queue_depth", queue="mail")] == 3
        assert found[key("nightshift_queue_depth", queue="celery")] == 0
        assert found[key("nightshift_up", part="broker")] == 1
        if broker == "rabbitmq":  # it cannot tell by queue
            assert key("nightshift_queue_delayed", queue="mail") not in found
        else:
            assert found[key("nightshift_queue_delayed", queue="mail")] == 1
            assert 0 <= found[key("nightshift_queue_oldest_seconds", queue="mail")] < 30
        assert found[key("nightshift_delayed")] == 1


def test_dead_letters_count_in_the_broker_and_in_the_database(ops: Ops) -> None:
    ops.bury()
    assert scrape(ops)[key("nightshift_dead_letters")] == 1
    ops.bury(archive=False)
    found = scrape(ops)
    assert found[key("nightshift_dead_letters")] == 2
    assert found[key("nightshift_dead_letters_unarchived")] == 1
    ops.ok("dead", "discard", "--all", "--yes")
    assert scrape(ops)[key("nightshift_dead_letters")] == 1


def test_processes(ops: Ops) -> None:
    found = scrape(ops)
    assert found[key("nightshift_workers")] == 0
    assert "nightshift_beat_last_tick_seconds" not in names(found)
    ops.worker_seen(
        "worker@one", busy=[{"job_id": "j", "task": "mail.send", "started_at": 0, "time_limit": 9}]
    )
    ops.worker_seen("worker@gone", seen=60, loop=60)
    ops.beat_seen(age=12)
    found = scrape(ops)
    assert found[key("nightshift_workers")] == 1
    assert found[key("nightshift_jobs_running")] == 1
    assert found[key("nightshift_beat_last_tick_seconds")] == pytest.approx(12, abs=2)


def test_samples_of_a_broker_that_is_down_are_left_out(ops: Ops, valkey: Valkey) -> None:
    ops.ran()
    ops.flush()
    ops.all_well()
    valkey.stop()
    found = scrape(ops)
    assert found[key("nightshift_up", part="broker")] == 0
    assert found[key("nightshift_up", part="database")] == 1
    assert not names(found) & {
        "nightshift_queue_depth",
        "nightshift_dead_letters",
        "nightshift_dead_letters_unarchived",
    }
    assert found[key("nightshift_workers")] == 1
    assert found[key("nightshift_jobs_total", task="mail.send", queue="mail", outcome="succeeded")] == 1


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_samples_of_a_database_that_is_down_are_left_out(
    valkey: Valkey, postgres: Postgres, tmp_path: Path, fault: str
) -> None:
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as ops:
        ops.ran()
        ops.flush()
        ops.enqueue("mail", 2)
        getattr(postgres, fault)()
        found = scrape(ops)
        assert found[key("nightshift_up", part="broker")] == 1
        assert found[key("nightshift_up", part="database")] == 0
        assert found[key("nightshift_queue_depth", queue="mail")] == 2
        assert not names(found) & {"nightshift_workers", "nightshift_jobs_total", "nightshift_dead_letters"}


def test_records_that_the_history_lost(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = key("nightshift_history_lost_total")
    assert scrape(ops)[lost] == 0
    monkeypatch.setattr(recorder, "MAX_RECORDS", 20)
    for outage in (1, 2):
        database = Path(ops.app.instance_path) / "nightshift.sqlite3"
        database.rename(database.with_suffix(".away"))
        for _ in range(100):
            ops.ran()  # each has two events
        database.with_suffix(".away").rename(database)
        ops.services.journal.flush(20)
        assert 150 * outage < scrape(ops)[lost] < 200 * outage
    mail = {"task": "mail.send", "queue": "mail"}
    assert scrape(ops)[key("nightshift_jobs_total", outcome="succeeded", **mail)] == 200


def test_openmetrics_for_who_asks_for_it(ops: Ops) -> None:
    ops.ran()
    ops.flush()
    answer = ops.get("/metrics", Accept="application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert answer.content_type.startswith("application/openmetrics-text")
    found = samples(answer.get_data(as_text=True), openmetrics)
    assert found[key("nightshift_jobs_total", task="mail.send", queue="mail", outcome="succeeded")] == 1
    assert ops.get("/metrics").content_type.startswith("text/plain")


def test_each_help_text_stands_alone(ops: Ops) -> None:
    ops.ran()
    ops.flush()
    lines = ops.get("/metrics").get_data(as_text=True).splitlines()
    texts = {line.split()[2]: line.split(maxsplit=3)[3] for line in lines if line.startswith("# HELP ")}
    assert len(texts) > 15
    unclear = {name: text for name, text in texts.items() if re.search(r"\bof (them|these|those)\b", text)}
    assert unclear == {}


def test_the_refused_metrics_page_says_how_to_open_it(ops: Ops) -> None:
    answer = ops.get("/metrics", remote="203.0.113.9")
    assert answer.status_code == 403
    assert answer.json["error"] == "forbidden"
    assert "NIGHTSHIFT_HTTP_TOKEN" in answer.json["message"]


def test_stats_shows_the_same(ops: Ops) -> None:
    ops.ran()
    ops.ran(outcome="dead")
    ops.flush()
    ops.all_well()
    ops.enqueue("mail", 3)
    ops.bury()
    shown = ops.json("stats")
    assert next(q for q in shown["queues"] if q["queue"] == "mail")["ready"] == 3
    assert shown["dead_letters"] == {"waiting": 1, "unarchived": 0}
    assert [w["name"] for w in shown["workers"] if w["healthy"]] == ["worker@one"]
    counts = {row["outcome"]: row["count"] for row in shown["totals"] if row["task"] == "mail.send"}
    assert counts == {"succeeded": 1, "dead": 1}
    assert shown["throughput"]["counts"]["succeeded"] == 1
    page = ops.ok("stats")
    assert all(len(line) <= 80 for line in page.splitlines())
    assert "worker@one" in page
    assert "1 waiting" in page


def test_stats_goes_on_without_the_broker(ops: Ops, valkey: Valkey) -> None:
    ops.ran()
    ops.flush()
    valkey.stop()
    shown = ops.json("stats")
    assert "unavailable" in shown["queues"]
    assert shown["totals"][0]["count"] == 1
    page = ops.ok("stats")
    assert "unavailable" in page
    assert "mail.send" in page
    assert "s3cret" not in page


def test_undeclared_names_that_no_worker_ran_are_one_series(ops: Ops) -> None:
    for number in range(300):
        ref = JobRef(f"j{number}", f"invented.{number}", "mail", 1)
        failure = Failure("NotRegistered", "no such task")
        ops.services.events.emit(JobDied(ref, utcnow(), "w", None, failure, Reason.EXPIRED))
    ran_elsewhere = JobRef("e", "declared.elsewhere", "mail", 1)
    ops.services.events.emit(JobSucceeded(ran_elsewhere, utcnow(), "w", 0.1))
    ops.ran()
    ops.flush()
    found = scrape(ops)
    tasks = {dict(labels)["task"] for name, labels in found if name == "nightshift_jobs_total"}
    assert tasks == {"mail.send", "declared.elsewhere", "unknown"}
    assert found[key("nightshift_jobs_total", task="unknown", queue="mail", outcome="expired")] == 300
