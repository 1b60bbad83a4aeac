"""RabbitMQ only."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Exchange, Queue

import newer
from broker_harness import Harness, a_job, make_harness
from flask_nightshift.brokers.rabbitmq import topology
from flask_nightshift.domain.job import Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message import headers as message_headers
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.headers import deliveries
from servers import RabbitMQ, wait_for

DELIVERIES = 3


@pytest.fixture
def harness(rabbitmq: RabbitMQ) -> Iterator[Harness]:
    with make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_DELIVERY_LIMIT=DELIVERIES) as made:
        yield made


def delete(harness: Harness, *queues: str) -> None:
    with harness.connection() as connection, connection.channel() as channel:
        for queue in queues:
            channel.queue_delete(queue)


def ready(harness: Harness, queue: str | None = None) -> int:
    return harness.broker.depths([queue or harness.queue])[0].ready


def test_rabbitmq_itself_buries_a_message_that_comes_back_too_often(harness: Harness) -> None:
    """Where no worker gets to look at it, or on a queue that was declared by an earlier release."""
    before = topology.job_queue(harness.queue)
    before.queue_arguments["x-delivery-limit"] = DELIVERIES - 1
    with harness.connection() as connection:
        topology.declare_shared(connection)
        topology.declare_queue(connection, before)
    job = a_job()
    harness.broker.publish(job, harness.queue)

    with harness.connection() as connection, connection.channel() as channel:
        for _ in range(DELIVERIES):
            wait_for(lambda: ready(harness) == 1, 5, "the job")
            channel.basic_reject(channel.basic_get(harness.queue).delivery_tag, requeue=True)

    (taken,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter")
    letter = taken.letter
    assert (letter.reason, letter.job_id, letter.queue) == (
        Reason.DELIVERY_LIMIT,
        job.headers["id"],
        harness.queue,
    )
    assert letter.body == job.body
    assert abs((utcnow() - letter.at).total_seconds()) < 10
    (again,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter again")
    assert again.letter.id == letter.id
    again.done()


def test_unstarted_jobs_go_back_uncounted(harness: Harness) -> None:
    jobs = [a_job("mail.send", number) for number in range(20)]
    for job in jobs:
        harness.broker.publish(job, harness.queue)

    with harness.consumer(prefetch=len(jobs)) as receive:
        messages = [receive() for _ in jobs]
        for message in messages:
            message.job_queue = harness.queue
        harness.broker.return_unstarted(messages[:4:-1])  # whatever their order here
        harness.broker.return_unstarted(messages)  # some of them again

        again = [receive() for _ in jobs]
    assert [each.body for each in again] == [each.body.decode() for each in [*jobs[5:], *jobs[:5]]]
    assert [each.headers["id"] for each in again] == [job.headers["id"] for job in [*jobs[5:], *jobs[:5]]]
    assert not any(deliveries(each.headers) or each.delivery_info["redelivered"] for each in again)


def test_an_unstarted_job_of_the_quarantine_goes_back_there_with_its_count(harness: Harness) -> None:
    quarantine = topology.quarantine_of(harness.queue).name
    job = a_job()
    job.headers[message_headers.DELIVERIES] = 2
    harness.broker.publish(job, quarantine)

    for _ in range(2):
        with harness.connection() as connection, connection.channel() as channel:
            message = channel.message_to_python(channel.basic_get(quarantine))
            message.job_queue = harness.queue
            assert deliveries(message.headers) == 2
            harness.broker.return_unstarted([message])
    assert ready(harness) == 1


@pytest.mark.parametrize(("name", "counted"), [("attempts", False), ("note", True)])
def test_unstarted_jobs_go_back_also_if_their_headers_do_not_fit_into_a_frame(
    harness: Harness, name: str, counted: bool
) -> None:
    """Past attempts can be left out; for a header of the user's own, RabbitMQ returns the message."""
    jobs = [a_job(), a_job()]
    with harness.consumer() as receive:
        for job in jobs:
            harness.broker.publish(job, harness.queue)
        messages = [receive() for _ in jobs]
        for message in messages:
            message.job_queue = harness.queue
        large = messages[1].headers
        (large["nightshift"] if counted is False else large)[name] = [{"message": "x" * 200_000}]
        harness.broker.return_unstarted(messages)
        again = {each.headers["id"]: deliveries(each.headers) for each in (receive(), receive())}
    assert again == {jobs[0].headers["id"]: 0, jobs[1].headers["id"]: int(counted)}


def test_a_job_that_expired_in_the_queue_is_buried(harness: Harness) -> None:
    job = a_job()
    job.properties["expiration"] = 0.05  # seconds, as Celery's option ``expires`` sets it
    harness.broker.publish(job, harness.queue)

    (taken,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter")

    assert (taken.letter.reason, taken.letter.job_id) == (Reason.EXPIRED, job.headers["id"])
    taken.done()


def test_a_dead_letter_survives_any_number_of_reads(harness: Harness) -> None:
    job = a_job()
    harness.broker.publish(job, DEAD_QUEUE)
    wait_for(lambda: ready(harness, DEAD_QUEUE) == 1, 5, "the dead letter")

    for _ in range(30):  # RabbitMQ 4 drops at 20 unless told otherwise
        assert wait_for(harness.broker.take_dead_letters, 5, "the dead letter")

    (taken,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter")
    taken.done()


def test_a_queue_that_was_deleted_is_declared_again(harness: Harness) -> None:
    harness.broker.publish(a_job(), harness.queue)
    delete(harness, harness.queue)
    job = a_job()

    harness.broker.publish(job, harness.queue)

    with harness.consumer() as receive:
        message = receive()
        assert message.headers["id"] == job.headers["id"]
        message.ack()


def test_delayed_jobs_of_a_deleted_queue_are_buried_and_block_no_other(harness: Harness) -> None:
    """Left to themselves, 32 of them would stop the delayed jobs of every queue."""
    other = f"{harness.queue}-other"
    for queue in (harness.queue, other):
        harness.broker.publish(a_job(), queue)
    for _ in range(40):
        job = a_job()
        job.headers["nightshift"]["queue"] = harness.queue
        harness.broker.publish(job, harness.queue, due=utcnow() + timedelta(seconds=1))
    delete(harness, harness.queue)

    harness.broker.publish(a_job(), other, due=utcnow() + timedelta(seconds=1))

    wait_for(lambda: ready(harness, other) == 2, 10, "the other queue's delayed job")
    wait_for(lambda: ready(harness, DEAD_QUEUE) == 40, 30, "forty dead letters")
    taken = harness.broker.take_dead_letters()
    assert {(t.letter.reason, t.letter.queue) for t in taken} == {(Reason.REJECTED, harness.queue)}
    assert "did not exist" in str(taken[0].letter.failure)
    for one in taken:
        one.done()


def test_the_dead_letter_queue_is_declared_again(harness: Harness) -> None:
    harness.broker.publish(a_job(), DEAD_QUEUE)
    delete(harness, DEAD_QUEUE)
    job = a_job()

    harness.broker.publish(job, DEAD_QUEUE)

    (taken,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter")
    assert taken.letter.job_id == job.headers["id"]
    taken.done()


def test_a_broker_that_lost_everything_gets_its_topology_again(rabbitmq: RabbitMQ) -> None:
    with make_harness("rabbitmq", rabbitmq) as harness:
        harness.broker.publish(a_job(), harness.queue)
        with harness.connection() as connection, connection.channel() as channel:
            for exchange in (
                harness.queue,
                DEAD_QUEUE,
                topology.TOPOLOGY_MARKER.name,
                topology.DELAYED_EXCHANGE,
            ):
                channel.exchange_delete(exchange)
            channel.queue_delete(harness.queue)

        harness.broker.publish(a_job(), harness.queue)
        harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=1))

        wait_for(lambda: ready(harness) == 2, 10, "both jobs")


def test_a_queue_declared_in_another_way_is_reported_and_how_to_mend_it(harness: Harness) -> None:
    with harness.connection() as connection, connection.channel() as channel:
        Queue(harness.queue, Exchange(harness.queue, "topic"), routing_key="x").bind(channel).declare()

    with pytest.raises(BrokerUnavailable, match="PRECONDITION_FAILED") as caught:
        harness.broker.publish(a_job(), harness.queue)
    assert f"rabbitmqctl delete_queue {harness.queue}" in str(caught.value)
    (finding,) = [
        f
        for f in harness.broker.diagnose(longest_time_limit=60, queues=[harness.queue])
        if f.level == "error"
    ]
    assert harness.queue in finding.message
    assert f"delete_queue {harness.queue}" in finding.remedy

    delete(harness, harness.queue)
    harness.broker.publish(a_job(), harness.queue)


@pytest.mark.parametrize("standing", [DELIVERIES + 5, 1, None])
def test_a_queue_with_another_delivery_limit_can_be_used(
    harness: Harness, caplog: pytest.LogCaptureFixture, standing: int | None
) -> None:
    caplog.set_level("INFO", logger="flask_nightshift.brokers")
    before = topology.job_queue(harness.queue)
    if standing is None:
        del before.queue_arguments["x-delivery-limit"]
    else:
        before.queue_arguments["x-delivery-limit"] = standing
    with harness.connection() as connection:
        topology.declare_shared(connection)
        topology.declare_queue(connection, before)

    harness.broker.publish(a_job(), harness.queue)
    harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=1))
    wait_for(lambda: ready(harness) == 2, 20, "both jobs")
    assert [r.levelname for r in caplog.records if harness.queue in r.getMessage()] == ["INFO"]

    again = harness.broker.queue(harness.queue)  # as a worker: it prepares, and Celery declares once more
    with harness.connection() as connection, connection.channel() as channel:
        harness.broker.prepare(connection, [again])
        again.bind(channel).declare()
    assert harness.broker.reaches(again)

    (finding,) = [f for f in harness.broker.diagnose(longest_time_limit=60, queues=[harness.queue]) if f.level != "ok"
                  and f.check == "queues"]  # fmt: skip
    assert finding.level == "warning"
    assert f"x-delivery-limit {standing or 'none'}" in finding.message
    assert f"delete_queue {harness.queue}" in finding.remedy


def test_declaring_twice_is_the_same_declaration(harness: Harness) -> None:
    with harness.connection() as connection:
        for _ in range(2):
            try:
                topology.declare_shared(connection, anyway=True)
                topology.declare_queue(connection, harness.broker.queue(harness.queue))
            except PreconditionFailed as exc:
                pytest.fail(str(exc))


def test_under_a_memory_alarm_publishing_fails_fast_and_doctor_says_why(harness: Harness) -> None:
    harness.broker.publish(a_job(), harness.queue)
    assert isinstance(harness.server, RabbitMQ)
    harness.server.memory_alarm(True)
    try:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            harness.broker.publish(a_job(), harness.queue)
        assert time.monotonic() - started < 3

        levels = {f.check: f.level for f in harness.broker.diagnose(longest_time_limit=60, queues=[])}
        assert levels["alarms"] == "error"
    finally:
        harness.server.memory_alarm(False)

    wait_for(lambda: harness.accepts(), 10, "a publish")
    assert harness.broker.diagnose(longest_time_limit=60, queues=[])[-1].level == "ok"


def test_a_long_job_is_warned_of(harness: Harness) -> None:
    """Before 3.12 the server's own timeout, 30 minutes by default, bounds every job; then ours of the queue, a day."""

    def level(limit: float | None) -> str:
        (finding,) = [
            f
            for f in harness.broker.diagnose(longest_time_limit=limit, queues=[])
            if f.check == "consumer_timeout"
        ]
        return finding.level

    assert level(1700) == "ok"
    assert level(3600) == ("ok" if newer.WANTED else "warning")
    assert level(90_000) == ("error" if newer.WANTED else "warning")
    assert level(None) == "warning"


def test_an_idle_consumer_keeps_its_connection(harness: Harness) -> None:
    """The read timeout bounds the answer to a command, not the wait for the next job."""
    with make_harness(
        "rabbitmq", harness.server, NIGHTSHIFT_CELERY={"broker_transport_options": {"read_timeout": 1}}
    ) as quick:
        assert quick.broker.celery_settings()["broker_transport_options"]["read_timeout"] == 1
        with quick.consumer() as receive:
            assert receive(2.5) is None  # more than twice the timeout
            job = a_job()
            quick.broker.publish(job, quick.queue)
            message = receive()
            assert message.headers["id"] == job.headers["id"]
            message.ack()


def test_several_urls_are_the_nodes_of_a_cluster(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.fresh_url()
    nobody = url.replace(str(rabbitmq.port), "1")
    with make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=f"{nobody};{url}") as harness:
        harness.broker.publish(a_job(), harness.queue)

        assert ready(harness) == 1
        assert harness.broker.health().product == "RabbitMQ"


def test_a_silent_node_delays_only_the_first_connection(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.fresh_url()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = url.replace(str(rabbitmq.port), str(silent.getsockname()[1]))

        def elapsed(call: Callable[[], object]) -> float:
            began = time.monotonic()
            call()
            return time.monotonic() - began

        def cluster(urls: str) -> AbstractContextManager[Harness]:
            return make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=urls)

        with cluster(f"{first};{url}") as harness:
            assert elapsed(harness.broker.health) < 2.5
            assert elapsed(harness.broker.health) < 0.8
        with cluster(f"{first};{first};{url}") as harness:
            assert elapsed(harness.broker.health) < 2.5
        with cluster(f"{first};{url}") as harness:
            with pytest.raises(BrokerUnavailable):
                harness.broker.publish(a_job(), harness.queue)
            harness.broker.publish(a_job(), harness.queue)
            with ThreadPoolExecutor(1) as another:  # its connections are its own
                assert another.submit(ready, harness).result() == 1
            delete(harness, harness.queue)
            harness.broker.publish(a_job(), harness.queue)
            assert ready(harness) == 1
