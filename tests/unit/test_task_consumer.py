"""A paused queue stays unconsumed, whatever consumes anew."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Connection, Queue

from flask_nightshift.app.task_consumer import TaskConsumer


@pytest.fixture
def consumer() -> Any:
    with Connection("memory://") as connection:
        queues = [Queue("mail"), Queue("celery")]
        yield TaskConsumer(connection.channel(), queues, on_message=lambda message: message.ack())


def test_a_paused_queue_is_consumed_by_nobody_until_its_end(consumer: TaskConsumer) -> None:
    ended: list[str] = []

    def cancel(channel: Any, tag: str) -> None:
        ended.append(str(consumer.queue_of(tag)))
        channel.basic_cancel(tag)

    def consumed() -> list[str]:
        return [name for name in ("celery", "late", "mail") if consumer.consuming_from(name)]

    consumer.consume()
    consumer.pause({"mail", "late"}, cancel)
    assert (ended, consumed()) == (["mail"], ["celery"])
    consumer.cancel()
    consumer.consume()  # as autoscale does
    assert consumed() == ["celery"]
    consumer.add_queue(Queue("late"))  # as add_consumer does
    consumer.consume()
    assert consumed() == ["celery"]
    consumer.revive(consumer.channel)
    assert consumed() == ["celery"]
    consumer.cancel_by_queue("mail")  # as cancel_consumer does
    consumer.pause(frozenset(), cancel)
    assert consumed() == ["celery", "late"]
    assert ended == ["mail"]
