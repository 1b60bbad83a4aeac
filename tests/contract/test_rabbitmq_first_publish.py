"""The first publish of a process declares what is missing, in few round trips and within the usual time limit."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from broker_harness import a_job, make_harness
from flask_nightshift.brokers.failures import PATIENCE, STEP
from flask_nightshift.brokers.rabbitmq import topology
from flask_nightshift.brokers.rabbitmq.broker import RabbitMQBroker
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable
from long_road import far_away
from servers import RabbitMQ, wait_for

pytestmark = pytest.mark.rabbitmq


def test_the_first_job_in_an_empty_vhost_of_a_distant_server_takes_few_round_trips(
    rabbitmq: RabbitMQ,
) -> None:
    with (
        far_away(rabbitmq, 0.005) as (url, road),
        make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=url) as harness,
    ):
        harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=1))
        assert road.round_trips <= 25  # for about 140 commands
        wait_for(lambda: harness.broker.depths([harness.queue])[0].ready == 1, 20, "the delayed job")


def test_a_first_job_that_would_come_too_late_is_refused_in_time(
    rabbitmq: RabbitMQ,
) -> None:
    round_trip = 0.5
    with (
        far_away(rabbitmq, round_trip / 2) as (url, road),
        make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=url) as harness,
    ):
        with pytest.raises(BrokerUnavailable):
            harness.broker.publish(a_job(), harness.queue)
        began_last = (road.round_trips - 1) * round_trip
        assert began_last < PATIENCE + STEP


def test_threads_that_wait_for_the_first_declaration_get_their_answer_in_time(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker freezes while one thread declares and five have connected and wait for it."""
    threads, waiting = 6, threading.Semaphore(0)
    with make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=rabbitmq.fresh_url()) as harness:
        assert isinstance(harness.broker, RabbitMQBroker)
        declarations = harness.broker._declarations
        declaring, foundation = declarations._declaring, topology.declare_shared

        def counted(name: str) -> Any:
            waiting.release()
            return declaring(name)

        def frozen(connection: Any, **options: Any) -> None:
            if not harness.server.frozen:
                for _ in range(threads):
                    assert waiting.acquire(timeout=0.5)
                harness.server.freeze()
            foundation(connection, **options)

        monkeypatch.setattr(declarations, "_declaring", counted)
        monkeypatch.setattr(topology, "declare_shared", frozen)

        def late(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                harness.broker.publish(a_job(), harness.queue)
            return time.monotonic() - began

        with ThreadPoolExecutor(threads) as pool:
            assert max(pool.map(late, range(threads))) < PATIENCE + 2 * STEP, "a thread waited a second time"
