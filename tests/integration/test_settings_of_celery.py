"""Celery's settings take effect in a real worker, and never make two processes use two brokers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from system import running

SETTINGS = {
    "task_time_limit": 2,
    "task_soft_time_limit": 1,
    "task_ignore_result": False,
    "task_routes": {"test.pid": "routed"},
    "task_annotations": {"test.shared": {"queue": "annotated"}},
    "worker_pool": "threads",
    "worker_concurrency": 3,
    "broker_pool_limit": 1,
    "beat_schedule": {"theirs": {"task": "test.tick", "schedule": 3600}},
}


@pytest.fixture(params=["valkey", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_celery_s_settings_take_effect_and_its_variables_do_not(server: Any, tmp_path: Path) -> None:
    elsewhere = {"CELERY_BROKER_URL": "redis://127.0.0.1:1", "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1"}
    settings = {"NIGHTSHIFT_CELERY": json.dumps(SETTINGS), "NIGHTSHIFT_TASK_DEFAULTS": '{"max_retries": 0}'}
    with running(tmp_path, server.fresh_url(), **settings) as system:
        worker = system.worker()
        system.env.update(elsewhere)  # in the web process, and not in the worker
        web = system.web()

        routed, annotated = system.enqueue("test.pid", "routed"), system.enqueue("test.shared", "annotated")
        system.until_state(routed, "succeeded")
        system.until_state(annotated, "succeeded")
        assert worker.lines("job.started", job_id=routed, queue="routed")
        assert worker.lines("job.started", job_id=annotated, queue="annotated")
        assert [entry["concurrency"] for entry in worker.lines("worker.started")] == [3]

        said = system.cli("doctor", ok=False).stdout
        for name in elsewhere:
            assert f"{name} in the environment has no effect" in said
            assert f"{name} in the environment has no effect" in web.log
        assert "127.0.0.1:1" not in said

        system.worker("--pool", "prefork", name="limits")
        worker.stop()
        slow = system.enqueue("test.nap", "slow", 30)
        system.until_state(slow, "dead")
        letters = system.until(system.dead, 20, "it is no dead letter")
        assert [letter["error"] for letter in letters] == ["billiard.exceptions.SoftTimeLimitExceeded"]
