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

from flask_nightshift.brokers.rabbitmq import topology
from flask_nightshift.domain.job import Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message.burial import DEAD_QUEUE
from servers import RabbitMQ, wait_for
from sites import Site, a_job, make_site

DELIVERIES = 3


@pytest.fixture
def site(rabbitmq: RabbitMQ) -> Iterator[Site]:
    with make_site("rabbitmq", rabbitmq, NIGHTSHIFT_DELIVERY_LIMIT=DELIVERIES) as made:
        yield made


def delete(site: Site, *queues: str) -> None:
    with site.connection() as connection, connection.channel() as channel:
        for queue in queues:
            channel.queue_delete(queue)


def ready(site: Site, queue: str | None = None) -> int:
    return site.broker.depths([queue or site.queue])[0].ready


def test_what_comes_back_too_often_is_buried_by_the_broker_itself(site: Site) -> None:
    """Where no worker gets to look at it, or on a queue that was declared by an earlier release."""
    before = topology.job_queue(site.queue)
    before.queue_arguments["x-delivery-limit"] = DELIVERIES - 1
    with site.connection() as connection:
        topology.declare_foundation(connection)
        topology.declare_queue(connection, before)
    job = a_job()
    site.broker.publish(job, site.queue)

    with site.connection() as connection, connection.channel() as channel:
        for _ in range(DELIVERIES):
            wait_for(lambda: ready(site) == 1, 5, "the job")
            channel.basic_reject(channel.basic_get(site.queue).delivery_tag, requeue=True)

    (taken,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter")
    letter = taken.letter
    assert (letter.reason, letter.job_id, letter.queue) == (
        Reason.DELIVERY_LIMIT,
        job.headers["id"],
        site.queue,
    )
    assert letter.body == job.body
    assert abs((utcnow() - letter.at).total_seconds()) < 10
    (again,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter again")
    assert again.letter.id == letter.id
    again.done()


def test_a_job_that_expired_in_the_queue_is_buried(site: Site) -> None:
    job = a_job()
    job.properties["expiration"] = 0.05  # seconds, as Celery's option ``expires`` sets it
    site.broker.publish(job, site.queue)

    (taken,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter")

    assert (taken.letter.reason, taken.letter.job_id) == (Reason.EXPIRED, job.headers["id"])
    taken.done()


def test_a_dead_letter_is_not_dropped_however_often_it_is_looked_at(site: Site) -> None:
    job = a_job()
    site.broker.publish(job, DEAD_QUEUE)
    wait_for(lambda: ready(site, DEAD_QUEUE) == 1, 5, "the dead letter")

    for _ in range(30):  # RabbitMQ 4 drops at 20 unless told otherwise
        assert wait_for(site.broker.take_dead_letters, 5, "the dead letter")

    (taken,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter")
    taken.done()


def test_a_queue_that_was_deleted_is_declared_again(site: Site) -> None:
    site.broker.publish(a_job(), site.queue)
    delete(site, site.queue)
    job = a_job()

    site.broker.publish(job, site.queue)

    with site.consumer() as receive:
        message = receive()
        assert message.headers["id"] == job.headers["id"]
        message.ack()


def test_delayed_jobs_whose_queue_was_deleted_are_buried_and_stop_nobody_else(site: Site) -> None:
    """Left to themselves, 32 of them would stop the delayed jobs of every queue."""
    other = f"{site.queue}-other"
    for queue in (site.queue, other):
        site.broker.publish(a_job(), queue)
    for _ in range(40):
        job = a_job()
        job.headers["nightshift"]["queue"] = site.queue
        site.broker.publish(job, site.queue, due=utcnow() + timedelta(seconds=1))
    delete(site, site.queue)

    site.broker.publish(a_job(), other, due=utcnow() + timedelta(seconds=1))

    wait_for(lambda: ready(site, other) == 2, 10, "the other queue's delayed job")
    wait_for(lambda: ready(site, DEAD_QUEUE) == 40, 30, "forty dead letters")
    taken = site.broker.take_dead_letters()
    assert {(t.letter.reason, t.letter.queue) for t in taken} == {(Reason.REJECTED, site.queue)}
    assert "did not exist" in str(taken[0].letter.failure)
    for one in taken:
        one.done()


def test_the_dead_letter_queue_is_declared_again(site: Site) -> None:
    site.broker.publish(a_job(), DEAD_QUEUE)
    delete(site, DEAD_QUEUE)
    job = a_job()

    site.broker.publish(job, DEAD_QUEUE)

    (taken,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter")
    assert taken.letter.job_id == job.headers["id"]
    taken.done()


def test_a_broker_that_lost_everything_is_furnished_again(rabbitmq: RabbitMQ) -> None:
    with make_site("rabbitmq", rabbitmq) as site:
        site.broker.publish(a_job(), site.queue)
        with site.connection() as connection, connection.channel() as channel:
            for exchange in (site.queue, DEAD_QUEUE, topology.READY_MARK.name, topology.DELAYED_EXCHANGE):
                channel.exchange_delete(exchange)
            channel.queue_delete(site.queue)

        site.broker.publish(a_job(), site.queue)
        site.broker.publish(a_job(), site.queue, due=utcnow() + timedelta(seconds=1))

        wait_for(lambda: ready(site) == 2, 10, "both jobs")


def test_a_queue_declared_in_another_way_is_reported_and_how_to_mend_it(site: Site) -> None:
    with site.connection() as connection, connection.channel() as channel:
        Queue(site.queue, Exchange(site.queue, "topic"), routing_key="x").bind(channel).declare()

    with pytest.raises(BrokerUnavailable, match="PRECONDITION_FAILED") as caught:
        site.broker.publish(a_job(), site.queue)
    assert f"rabbitmqctl delete_queue {site.queue}" in str(caught.value)
    (finding,) = [
        f for f in site.broker.diagnose(longest_time_limit=60, queues=[site.queue]) if f.level == "error"
    ]
    assert site.queue in finding.message
    assert f"delete_queue {site.queue}" in finding.remedy

    delete(site, site.queue)
    site.broker.publish(a_job(), site.queue)


@pytest.mark.parametrize("standing", [DELIVERIES + 5, 1, None])
def test_another_delivery_limit_than_the_queue_has_stops_nobody(
    site: Site, caplog: pytest.LogCaptureFixture, standing: int | None
) -> None:
    caplog.set_level("INFO", logger="flask_nightshift.brokers")
    before = topology.job_queue(site.queue)
    if standing is None:
        del before.queue_arguments["x-delivery-limit"]
    else:
        before.queue_arguments["x-delivery-limit"] = standing
    with site.connection() as connection:
        topology.declare_foundation(connection)
        topology.declare_queue(connection, before)

    site.broker.publish(a_job(), site.queue)
    site.broker.publish(a_job(), site.queue, due=utcnow() + timedelta(seconds=1))
    wait_for(lambda: ready(site) == 2, 20, "both jobs")
    assert [r.levelname for r in caplog.records if site.queue in r.getMessage()] == ["INFO"]

    again = site.broker.queue(site.queue)  # as a worker: it prepares, and Celery declares once more
    with site.connection() as connection, connection.channel() as channel:
        site.broker.prepare(connection, [again])
        again.bind(channel).declare()
    assert site.broker.reaches(again)

    (finding,) = [f for f in site.broker.diagnose(longest_time_limit=60, queues=[site.queue]) if f.level != "ok"
                  and f.check == "queues"]  # fmt: skip
    assert finding.level == "warning"
    assert f"x-delivery-limit {standing or 'none'}" in finding.message
    assert f"delete_queue {site.queue}" in finding.remedy


def test_declaring_twice_is_the_same_declaration(site: Site) -> None:
    with site.connection() as connection:
        for _ in range(2):
            try:
                topology.declare_foundation(connection, anyway=True)
                topology.declare_queue(connection, site.broker.queue(site.queue))
            except PreconditionFailed as exc:
                pytest.fail(str(exc))


def test_under_a_memory_alarm_publishing_fails_fast_and_doctor_says_why(site: Site) -> None:
    site.broker.publish(a_job(), site.queue)
    assert isinstance(site.server, RabbitMQ)
    site.server.memory_alarm(True)
    try:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            site.broker.publish(a_job(), site.queue)
        assert time.monotonic() - started < 3

        levels = {f.check: f.level for f in site.broker.diagnose(longest_time_limit=60, queues=[])}
        assert levels["alarms"] == "error"
    finally:
        site.server.memory_alarm(False)

    wait_for(lambda: site.accepts(), 10, "a publish")
    assert site.broker.diagnose(longest_time_limit=60, queues=[])[-1].level == "ok"


def test_a_long_job_is_warned_of(site: Site) -> None:
    """Before 3.12 the server's own timeout, 30 minutes by default, bounds every job."""

    def level(limit: float | None) -> str:
        (finding,) = [
            f
            for f in site.broker.diagnose(longest_time_limit=limit, queues=[])
            if f.check == "consumer_timeout"
        ]
        return finding.level

    assert level(1700) == "ok"
    assert level(3600) == "warning"
    assert level(None) == "warning"


def test_an_idle_consumer_keeps_its_connection(site: Site) -> None:
    """The read timeout bounds the answer to a command, not the wait for the next job."""
    with make_site(
        "rabbitmq", site.server, NIGHTSHIFT_CELERY={"broker_transport_options": {"read_timeout": 1}}
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
    with make_site("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=f"{nobody};{url}") as site:
        site.broker.publish(a_job(), site.queue)

        assert ready(site) == 1
        assert site.broker.health().product == "RabbitMQ"


def test_a_node_that_is_silent_costs_its_time_once(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.fresh_url()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = url.replace(str(rabbitmq.port), str(silent.getsockname()[1]))

        def elapsed(call: Callable[[], object]) -> float:
            began = time.monotonic()
            call()
            return time.monotonic() - began

        def cluster(urls: str) -> AbstractContextManager[Site]:
            return make_site("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=urls)

        with cluster(f"{first};{url}") as site:
            assert elapsed(site.broker.health) < 2.5
            assert elapsed(site.broker.health) < 0.8
        with cluster(f"{first};{first};{url}") as site:
            assert elapsed(site.broker.health) < 2.5
        with cluster(f"{first};{url}") as site:
            with pytest.raises(BrokerUnavailable):
                site.broker.publish(a_job(), site.queue)
            site.broker.publish(a_job(), site.queue)
            with ThreadPoolExecutor(1) as another:  # its connections are its own
                assert another.submit(ready, site).result() == 1
            delete(site, site.queue)
            site.broker.publish(a_job(), site.queue)
            assert ready(site) == 1
