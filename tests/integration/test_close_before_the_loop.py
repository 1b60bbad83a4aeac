"""RabbitMQ closes the connection in the moment in which a worker's event loop begins.

Celery reads once before that, for a tenth of a second, and drops the error if it is then. What is left is a connection
that is closed, which is what the worker is given here.
"""

from __future__ import annotations

from pathlib import Path

from system import running

from servers import RabbitMQ


def test_the_worker_connects_again(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    with running(tmp_path, rabbitmq.fresh_url()) as system:
        system.web()
        worker = system.worker("--concurrency", "1", LOSE_CONNECTION="yes")
        system.until_state(system.enqueue("test.succeed", "it"), "succeeded", 25)
        assert worker.log.count("Connected to") >= 2
