"""RabbitMQ closes the connection in the moment in which a worker's event loop begins.

Celery reads once before that, for a tenth of a second, and drops the error if it is then. What is left is a closed
connection, which is what the worker is given here. Where it was closed before that read, kombu connects anew in order
to read, and nothing is consumed by the new connection.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import RabbitMQ
from system import running


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_worker_connects_again(rabbitmq: RabbitMQ, tmp_path: Path, moment: str) -> None:
    with running(tmp_path, rabbitmq.fresh_url()) as system:
        system.web()
        worker = system.worker("--concurrency", "1", LOSE_CONNECTION=moment)
        system.enqueue("test.succeed", "perhaps before it is closed")
        system.until(lambda: worker.log.count("Connected to") >= 2, 25, "it does not connect again")
        system.until_state(system.enqueue("test.succeed", "it"), "succeeded", 25)
