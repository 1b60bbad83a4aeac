"""What doctor knows of RabbitMQ's versions, and what RabbitMQ 4.3 does; ``SERVERS=newer`` runs it there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from amqp.exceptions import PreconditionFailed
from kombu import Exchange, Queue

import newer
from broker_harness import Harness, a_job, emptied, make_harness
from flask_nightshift.brokers.rabbitmq import rules, topology
from flask_nightshift.brokers.values import Finding
from flask_nightshift.options.publish import UnencodableHeader
from servers import RabbitMQ

only_newer = pytest.mark.skipif(not newer.WANTED, reason="SERVERS=newer runs it")


@pytest.fixture
def harness(rabbitmq: RabbitMQ) -> Iterator[Harness]:
    with make_harness("rabbitmq", rabbitmq) as made:
        yield made


def found(harness: Harness, check: str) -> list[Finding]:
    queues = [harness.queue]
    return [
        each for each in harness.broker.diagnose(longest_time_limit=60, queues=queues) if each.check == check
    ]


@only_newer
def test_the_highest_priority_is_first_without_any_argument(harness: Harness) -> None:
    for priority in (0, 5, 9, None, 4, 40, 31, 32):
        job = a_job("mail.send", priority)
        if priority is not None:
            job.properties["priority"] = priority
        harness.broker.publish(job, harness.queue)
    with harness.consumer() as receive:
        order = [receive().payload[0][0] for _ in range(8)]
    assert order == [40, 31, 32, 9, 5, 4, 0, None]
    assert found(harness, "priorities")[0].level == "ok"


def test_a_quorum_queue_refuses_the_argument_for_priorities(harness: Harness) -> None:
    queue = topology.job_queue(harness.queue)
    queue.queue_arguments["x-max-priority"] = 10
    with harness.connection() as connection, pytest.raises(PreconditionFailed):
        topology.declare_queue(connection, queue)


def test_a_job_larger_than_the_server_takes_is_the_jobs_fault(harness: Harness) -> None:
    """RabbitMQ 4 takes 16 MiB by default, and closes the channel of a larger message."""
    with pytest.raises(UnencodableHeader, match="larger than configured max size 16777216"):
        harness.broker.publish(a_job("mail.send", "x" * 17_000_000), harness.queue)
    harness.broker.publish(a_job(), harness.queue)


@pytest.fixture
def set_policy(rabbitmq: RabbitMQ) -> Iterator[Any]:
    """``set_policy(definition)`` sets one for all queues of every vhost of these tests."""

    vhost = str(emptied(rabbitmq)).rpartition("/")[2]
    where = f'<<"{vhost}">>, <<"all">>'

    def do(terms: str) -> None:
        rabbitmq.erl(f'rabbit_policy:set({where}, <<".*">>, [{terms}], 0, <<"queues">>, <<"test">>)')

    yield do
    rabbitmq.erl(f'rabbit_policy:delete({where}, <<"test">>)')


def test_doctor_finds_a_policy_that_buries_jobs(harness: Harness, set_policy: Any) -> None:
    assert [each.level for each in found(harness, "policy")] == ["ok"]
    set_policy('{<<"delivery-limit">>, 20}')
    (finding,) = found(harness, "policy")
    assert finding.level == "error"
    assert "21 times" in finding.message


@only_newer
def test_doctor_finds_a_policy_that_delays_what_comes_back(harness: Harness, set_policy: Any) -> None:
    set_policy('{<<"delayed-retry-type">>, <<"all">>}, {<<"delayed-retry-min">>, 60000}')
    (finding,) = found(harness, "policy")
    assert (finding.level, "delayed-retry-type" in finding.message) == ("warning", True)


def test_the_probe_leaves_no_queue(harness: Harness) -> None:
    found(harness, "policy")
    names = "[element(4, amqqueue:get_name(Q)) || Q <- rabbit_amqqueue:list()]"
    probe = 'binary:match(N, <<"probe">>) =/= nomatch'
    assert harness.server.erl(f"length([N || N <- {names}, {probe}])") == "0"


@pytest.mark.parametrize(("version", "level"), [((3, 10, 8), "info"), ((4, 2), "info"), ((4, 3, 6), "ok")])
def test_what_priorities_are_worth(version: tuple[int, ...], level: str) -> None:
    assert rules.priorities(version).level == level


PLAIN = Queue("mail", Exchange("mail"), durable=True)
REFUSED = {
    "neither durable": Queue("mail", Exchange("mail"), durable=False),
    "x-queue-mode": Queue("mail", Exchange("mail"), queue_arguments={"x-queue-mode": "lazy"}),
    "x-max-priority": Queue("mail", Exchange("mail"), queue_arguments={"x-queue-type": "quorum", "x-max-priority": 9}),
    "mirrored": Queue("mail", Exchange("mail"), queue_arguments={"x-ha-policy": "all"}),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_queues_that_a_newer_version_refuses(what: str) -> None:
    (after,) = rules.deprecated((4, 3, 6), [PLAIN, REFUSED[what]], {})
    (before,) = rules.deprecated((3, 13), [REFUSED[what]], {})
    assert what in after.message
    assert (before.level, after.level) == ("warning", "error")


@pytest.mark.parametrize("kind", ["control_queue", "event_queue"])
def test_settings_that_a_newer_version_refuses(kind: str) -> None:
    assert not list(rules.deprecated((4, 3, 6), [], {f"{kind}_exclusive": True}))
    (finding,) = rules.deprecated((4, 3, 6), [], {f"{kind}_exclusive": False})
    assert (finding.level, kind in finding.message) == ("error", True)
    assert not list(rules.deprecated((4, 3, 6), [], {f"{kind}_exclusive": False, f"{kind}_durable": True}))
