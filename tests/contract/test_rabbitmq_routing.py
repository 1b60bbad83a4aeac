"""A delayed job reaches its queue for any exchange and routing key, or is refused; none stays in the delayed queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from kombu import Exchange, Queue, binding

from broker_harness import Harness, a_job, make_harness
from flask_nightshift.brokers.rabbitmq import topology
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import ConfigurationError
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.services import current
from resultsapp import add, create_app
from servers import RabbitMQ, wait_for

pytestmark = pytest.mark.rabbitmq

TASKS = Exchange("tasks", "topic")
QUEUES = {
    "no exchange": Queue("routed"),
    "direct": Queue("routed", Exchange("straight", "direct"), routing_key="somewhere"),
    "fanout": Queue("routed", Exchange("wide", "fanout")),
    "topic": Queue("routed", TASKS, routing_key="mail.*"),
    "everything": Queue("routed", TASKS, routing_key="#"),
    "bindings": Queue("routed", [binding(TASKS, "a.b"), binding(Exchange("straight", "direct"), "c")]),
    "dots": Queue("routed.eu", Exchange("straight", "direct"), routing_key="somewhere"),
}


@pytest.fixture
def harness(rabbitmq: RabbitMQ) -> Iterator[Harness]:
    with make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=rabbitmq.fresh_url()) as made:
        yield made


@contextmanager
def app(harness: Harness, folder: Path, default_queue: str = "celery", **celery: Any) -> Iterator[Flask]:
    """An app on the harness's server; ``celery`` is its ``NIGHTSHIFT_CELERY``."""
    made = create_app(
        harness.app.instance_path,
        NIGHTSHIFT_BROKER_URL=harness.url,
        NIGHTSHIFT_DATABASE_URL=f"sqlite:///{folder}/history.sqlite3",
        NIGHTSHIFT_DEFAULT_QUEUE=default_queue,
        NIGHTSHIFT_CELERY=celery,
    )
    with made.app_context():
        current().store.migrate()
        yield made
        current().journal.close()
        current().broker.close()


def soon() -> datetime:
    return utcnow() + timedelta(seconds=1)


def ready(harness: Harness, queue: str) -> int:
    return harness.broker.depths([queue])[0].ready


def arrives(harness: Harness, queue: str, count: int = 1) -> None:
    """``count`` jobs get to ``queue``, and none is left on its way or somewhere else."""
    wait_for(lambda: ready(harness, queue) == count, 20, f"{count} delayed job(s) in {queue}")
    assert harness.broker.delayed() == 0
    assert ready(harness, DEAD_QUEUE) == 0


@pytest.mark.parametrize("kind", QUEUES)
def test_a_queue_of_the_users_own_gets_delayed_jobs_and_retries(
    harness: Harness, tmp_path: Path, kind: str
) -> None:
    queue = QUEUES[kind]
    with app(harness, tmp_path, queue.name, task_queues=[queue]):
        add.apply_async((1, 2), countdown=1)
        add.apply_async((1, 2), countdown=1, queue=queue.name)
        arrives(harness, queue.name, 2)

        broker = current().broker
        broker.publish(a_job(), queue.name, due=soon())  # as a retry goes out
        broker.publish(a_job(), queue.name)
        assert list(broker.publish_many([a_job(), a_job()], queue.name)) == [2]
        arrives(harness, queue.name, 6)


def test_a_retry_after_the_topology_was_lost_finds_the_users_queue(harness: Harness, tmp_path: Path) -> None:
    queue = QUEUES["direct"]
    with app(harness, tmp_path, task_queues=[queue]):
        broker = current().broker
        broker.publish(a_job(), queue.name)
        with harness.connection() as connection, connection.channel() as channel:
            channel.exchange_delete(topology.DELAYED_EXCHANGE)
        for _ in range(2):
            broker.publish(a_job(), queue.name, due=soon())
        arrives(harness, queue.name, 3)


def test_a_message_in_hand_is_settled_though_its_queue_is_declared_nowhere_here(harness: Harness) -> None:
    """``celery control add_consumer`` brings such queues."""
    queue = Queue("foreign", Exchange("straight", "direct"), routing_key="x")
    with harness.connection() as connection, connection.channel() as channel:
        queue.bind(channel).declare()
        connection.Producer().publish({}, exchange="straight", routing_key="x")
        message = wait_for(lambda: queue.bind(channel).get(), 5, "the message")

        assert harness.broker.replace(message, a_job(), "foreign", due=soon())

        arrives(harness, "foreign")


def test_a_queue_that_one_call_declares_gets_its_delayed_job(harness: Harness, tmp_path: Path) -> None:
    queue = Queue("once", TASKS, routing_key="once.#")
    with app(harness, tmp_path):
        add.apply_async((1, 2), queue=queue, countdown=1)
        add.apply_async((1, 2), queue=queue)
        arrives(harness, "once", 2)


def test_an_exchange_and_key_that_lead_to_one_known_queue_delay_too(harness: Harness, tmp_path: Path) -> None:
    route = {"results.add": {"exchange": "tasks", "routing_key": "mail.routed"}}
    others = [Queue("other", TASKS, routing_key="web.*"), Queue("third", Exchange("x", "topic"), "mail.*")]
    with app(harness, tmp_path, task_queues=[QUEUES["topic"], *others], task_routes=route):
        add.apply_async((1, 2), countdown=1)
        add.apply_async((1, 2), exchange="tasks", routing_key="mail.given", countdown=1)
        add.apply_async((1, 2), exchange="tasks", routing_key="mail.given")
        arrives(harness, "routed", 3)
        assert ready(harness, "other") == 0


def test_a_delay_to_nowhere_or_to_several_queues_is_refused(harness: Harness, tmp_path: Path) -> None:
    queues = [QUEUES["topic"], Queue("copy", TASKS, routing_key="mail.#")]
    with app(harness, tmp_path, task_queues=queues):
        for key, said in ("sms.x", "no queue that this process knows"), ("mail.x", "several (routed, copy)"):
            with pytest.raises(ConfigurationError) as caught:
                add.apply_async((1, 2), exchange="tasks", routing_key=key, countdown=1)
            assert f"('tasks', '{key}')" in str(caught.value)
            assert said in str(caught.value)
            assert "queue=" in str(caught.value)
    assert harness.broker.delayed() == 0


def test_unroutable_delayed_jobs_are_buried_and_block_no_other(harness: Harness) -> None:
    """The binding of a queue may go with an import of definitions, or by somebody's hand."""
    harness.broker.publish(a_job(), harness.queue)
    harness.broker.publish(a_job(), "lost")
    with harness.connection() as connection, connection.channel() as channel:
        channel.queue_unbind("lost", topology.ARRIVALS.name, f"#.{topology.OURS}.lost")
        channel.queue_unbind("lost", topology.ARRIVALS.name, "#.lost")
    for _ in range(40):
        harness.broker.publish(a_job(), "lost", due=soon())
    harness.broker.publish(a_job(), harness.queue, due=soon())
    wait_for(lambda: ready(harness, harness.queue) == 2, 20, "the other queue's delayed job")
    wait_for(lambda: ready(harness, DEAD_QUEUE) == 40, 20, "forty dead letters")


def test_doctor_reports_a_queue_that_is_not_safe(harness: Harness, tmp_path: Path) -> None:
    with app(harness, tmp_path, task_queues=[QUEUES["no exchange"]]):
        found = current().broker.diagnose(longest_time_limit=60, queues=["routed", "celery"])
    levels = {f.message.split()[0]: f.level for f in found if f.check == "queues"}
    assert levels == {"routed": "warning", "celery": "ok"}


@pytest.mark.parametrize("name", ["*", "#", "mail.*", "#.mail", "nightshift.dead", "celery_delayed_0"])
def test_a_queue_name_that_is_a_pattern_or_reserved_is_refused(
    harness: Harness, tmp_path: Path, name: str
) -> None:
    def many(args: tuple[int, int], **options: Any) -> list[str]:
        return add.enqueue_many([args], **options)

    delays: list[dict[str, Any]] = [{}, {"countdown": 1}]
    with app(harness, tmp_path):
        ways: list[Callable[..., Any]] = [add.apply_async, many]
        for enqueue in ways:
            for delay in delays:
                with pytest.raises(ConfigurationError) as caught:
                    enqueue((1, 2), queue=name, **delay)
                assert f"queue = {name!r} is not usable" in str(caught.value)


def test_a_queue_whose_name_looks_like_a_pattern_gets_no_copies(harness: Harness) -> None:
    """A letter may be replayed to any queue; and one that somebody else has declared has any name."""
    for name in ("*", "#"):
        harness.broker.publish(a_job(), name)
    harness.broker.publish(a_job(), harness.queue, due=soon())
    arrives(harness, harness.queue)
    assert [ready(harness, name) for name in ("*", "#")] == [1, 1]
