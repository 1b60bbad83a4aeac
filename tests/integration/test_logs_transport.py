"""If a job ends or moves outside a worker, a log line names the job."""

from __future__ import annotations

import json
import logging
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.dead_letters import Archiver
from flask_nightshift.enqueue.ids import new_id
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from opsapp import Ops, opened
from servers import Valkey
from system import running

SECRET = "424242"
SHORT = json.dumps({"broker_transport_options": {"lease_seconds": 3, "lease_renew_seconds": 0.5}})


def fields(record: logging.LogRecord) -> dict[str, Any]:
    message: Any = record.msg
    return dict(message.fields)


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"])
def test_a_job_that_the_broker_buried_is_logged_with_its_id(
    broker: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, request.getfixturevalue(broker).fresh_url()) as ops:
        job = new_id()
        original = ops.message(job)
        death = {"reason": "delivery_limit", "queue": "mail", "count": 1, "time": datetime.now(UTC)}
        if broker == "valkey":
            death["time"] = None
        headers = {**original.headers, "x-death": [death]}
        ops.services.broker.publish(Envelope(original.body, headers), DEAD_QUEUE)
        for _ in range(2):
            Archiver(ops.services.broker, ops.services.store).run_once()
        (line,) = [fields(each) for each in caplog.records if str(each.msg).startswith("job.dead")]
        assert line.items() >= {
            "job_id": job, "task": "mail.send", "queue": "mail", "attempt": 1, "reason": "delivery_limit",
            "request_id": "req-1",
        }.items()  # fmt: skip


def put(ops: Ops, url: str, raw: bytes) -> None:
    import redis

    with redis.Redis.from_url(url) as client:
        client.lpush("mail", raw)


def message(job: str, **members: Any) -> bytes:
    """A job as it lies on a ready list."""
    return json.dumps(
        {
            **members,
            "body": f"[[{SECRET}], {{}}, {{}}]",
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"id": job, "task": "mail.send", "lang": "py", "root_id": job, "retries": 1},
            "properties": {
                "delivery_tag": job,
                "correlation_id": job,
                "delivery_info": {"routing_key": "mail"},
            },
        }
    ).encode()


def test_a_worker_logs_which_job_was_buried_without_its_arguments(valkey: Valkey, tmp_path: Path) -> None:
    url = valkey.fresh_url()
    with running(tmp_path, url) as system, opened(tmp_path, url, migrate=False) as ops:
        often, misshapen = new_id(), new_id()
        put(ops, url, message(often, **{"x-delivery-count": 5}))
        put(ops, url, b"no JSON " + SECRET.encode())
        put(ops, url, message(misshapen).replace(b"{}, {}]", b"{}]"))
        worker = system.worker("--queues", "mail", "--pool", "solo")
        system.until(lambda: len(worker.lines("job.dead")) == 3, 20, "three burials")
        system.until(lambda: len(system.archived()) == 3, 20, "three letters")
        (line,) = worker.lines("job.dead", job_id=often)
        assert (
            line.items()
            >= {"task": "mail.send", "queue": "mail", "attempt": 2, "reason": "delivery_limit"}.items()
        )
        (line,) = worker.lines("job.dead", job_id=misshapen)
        assert line["reason"] == "invalid"
        assert worker.lines("job.dead", reason="undecodable", queue="mail")
        assert SECRET not in worker.log


def test_a_job_that_changes_workers_is_logged_with_its_id_by_both(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), NIGHTSHIFT_CELERY=SHORT) as system:
        system.web()
        frozen = system.worker("--pool", "solo", name="frozen")
        job = system.enqueue("test.succeed", "slow", 2)
        system.until(lambda: system.events("slow"), 20, "it has not begun")
        frozen.signal(signal.SIGSTOP)
        other = system.worker("--pool", "solo", name="other")
        system.until(lambda: other.lines("job.returned", job_id=job), 30, "nobody tells that it came back")
        (line,) = other.lines("job.returned", job_id=job)
        assert (
            line.items() >= {"task": "test.succeed", "queue": "celery", "why": "its worker is gone"}.items()
        )
        system.until(lambda: other.lines("worker.gone"), 5, "the line that follows")
        assert [each["begun"] for each in other.lines("worker.gone")] == [1]
        frozen.signal(signal.SIGCONT)
        system.until(
            lambda: frozen.lines("job.lease_lost", job_id=job), 30, "it does not tell that it was too late"
        )
        assert frozen.lines("job.lease_lost", job_id=job)[0]["task"] == "test.succeed"
