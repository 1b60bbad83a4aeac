"""RabbitMQ closes the connection just when a worker's event loop begins.

Celery reads once before that, for a tenth of a second, and drops an error of that read. Then the connection is closed,
and these tests give the worker such a connection. If the connection is closed before that read, kombu reconnects to
read, and nothing consumes from the new connection.
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
