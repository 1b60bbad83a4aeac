"""Jobs that a foreign producer routes to a queue through its own exchange stay jobs of that queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from system import System, running


def test_a_job_from_a_topic_exchange_is_retried_in_its_queue(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.web()
    system.worker("--queues", "feed", "--concurrency", "1")
    _publish(system, "flaky", "test.flaky", "flaky", 2)
    _publish(system, "hopeless", "test.permanent", "hopeless")
    system.until(lambda: "done" in system.events("flaky"), 30, "its retry went to a queue that nobody reads")
    system.until(system.archived, 20, "no dead letter")
    assert [letter["queue"] for letter in system.dead()] == ["feed"]
    succeeded = 'nightshift_jobs_total{outcome="succeeded",queue="feed",task="test.flaky"} 1'
    assert system.http is not None
    http = system.http
    assert http is not None
    system.until(lambda: succeeded in http.get("/metrics").text, 20, "the history names another queue")


def _publish(system: System, job_id: str, task: str, *args: Any) -> None:
    exchange = Exchange("tasks", type="topic")
    with Connection(system.env["NIGHTSHIFT_BROKER_URL"]) as connection, connection.Producer() as producer:
        exchange.declare(channel=producer.channel)
        Queue("feed", channel=producer.channel).bind_to(exchange, routing_key="feed.#")
        producer.publish(
            [args, {}, {}], exchange=exchange, routing_key="feed.tasks", serializer="json",
            headers={"id": job_id, "task": task, "lang": "py"},
        )  # fmt: skip


@pytest.mark.rabbitmq
def test_a_queue_of_the_users_own_exchange_gets_its_retries(rabbitmq: Any, tmp_path: Path) -> None:
    queues = {"celery": {"exchange": "straight", "exchange_type": "direct", "routing_key": "x"}}
    celery = json.dumps({"task_queues": queues})
    with running(tmp_path, rabbitmq.fresh_url(), NIGHTSHIFT_CELERY=celery) as system:
        system.web()
        system.worker("--concurrency", "1")
        system.until_state(system.enqueue("test.flaky", "flaky", 2), "succeeded", 40)
        system.until_state(system.enqueue("test.succeed", "later", countdown=2), "succeeded", 40)
