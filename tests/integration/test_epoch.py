"""A worker notices that Redis has lost its data, and says so once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from system import System, running


@pytest.fixture(params=["valkey", "redis_server"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def system(tmp_path: Path) -> Any:
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(running(tmp_path, url))


def test_a_wiped_server_is_named_in_log_and_health(server: Any, system: Callable[[str], System]) -> None:
    made = system(server.fresh_url())
    workers = [made.worker("--concurrency", "1", name=name) for name in ("one", "two")]
    made.until(lambda: b"nightshift:epoch" in b"".join(server.client().keys("*")), 20, "no epoch")

    def wiped() -> list[Any]:
        return [line for worker in workers for line in worker.lines("broker.wiped")]

    def outbox() -> str:
        return str(made.json("health", "--part", "outbox")["parts"]["outbox"]["detail"])

    assert outbox() == "no job waits"
    server.client().flushall()
    made.until(wiped, 30, "nobody noticed")
    assert "the broker lost its data at" in outbox()

    third = made.worker("--concurrency", "1", name="three")
    workers.append(third)
    made.web()
    made.until_state(made.enqueue("test.succeed", "after"), "succeeded")
    assert len(wiped()) == 1, "one worker says it"


@pytest.mark.rabbitmq
def test_a_broker_that_cannot_tell_is_not_asked_again(rabbitmq: Any, system: Callable[[str], System]) -> None:
    made = system(rabbitmq.fresh_url())
    worker = made.worker("--concurrency", "1")
    made.web()
    made.until_state(made.enqueue("test.succeed", "job"), "succeeded")
    assert "broker.epoch" not in worker.log
