"""A second publish of an attempt from an outbox is recognised, and named in the log."""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta
from typing import Any

import pytest

from broker_harness import Harness, a_job
from flask_nightshift.domain.job import Attempt, utcnow
from flask_nightshift.message import burial
from flask_nightshift.message.copies import copy_of, stamp_copy
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.message.headers import next_attempt


def copies_of(job: Envelope, *numbers: int) -> list[Envelope]:
    """Publishes of ``job`` from one row of an outbox."""
    row = secrets.token_hex(8)
    return [
        Envelope(job.body, stamp_copy(job.headers, row, number), job.properties, plain=job.plain)
        for number in numbers
    ]


def publish(harness: Harness, *envelopes: Envelope, **options: Any) -> int:
    return sum(harness.broker.publish_many(envelopes, harness.queue, from_outbox=True, **options))


def ready(harness: Harness) -> int:
    return harness.broker.depths([harness.queue])[0].ready


@pytest.fixture
def refusing(harness: Harness) -> Harness:
    if not harness.can.refuses_copies:
        pytest.skip("a worker recognises a second publish there")
    return harness


@pytest.mark.parametrize("delayed", [False, True])
def test_a_second_publish_is_dropped_and_named(
    refusing: Harness, caplog: pytest.LogCaptureFixture, delayed: bool
) -> None:
    due = utcnow() + timedelta(hours=1) if delayed else None
    first, second = copies_of(a_job(), 1, 2)

    with caplog.at_level(logging.WARNING, "flask_nightshift.jobs"):
        assert publish(refusing, first, due=due) == 1
        assert not caplog.records
        assert publish(refusing, second, due=due) == 1, "it is in the queue, so it is confirmed"

    (depth,) = refusing.broker.depths([refusing.queue])
    assert (depth.ready, depth.delayed) == ((0, 1) if delayed else (1, 0))
    (record,) = caplog.records
    line: Any = record.msg
    assert (line.event, line.fields["job_id"]) == ("job.duplicate", first.headers["id"])


def test_whichever_publish_comes_first_is_enqueued(refusing: Harness) -> None:
    first, second = copies_of(a_job(), 1, 2)
    publish(refusing, second)
    publish(refusing, first)

    with refusing.consumer() as receive:
        message = receive()
        assert copy_of(message.headers) == copy_of(second.headers)
        message.ack()
        assert receive(0.3) is None


def test_of_a_batch_only_second_publishes_are_dropped(
    refusing: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    batch = [copies_of(a_job(), 1, 2) for _ in range(700)]
    publish(refusing, *(first for first, _ in batch[::2]))

    with caplog.at_level(logging.WARNING, "flask_nightshift.jobs"):
        publish(refusing, *(second for _, second in batch))

    assert ready(refusing) == 700
    lines: list[Any] = [record.msg for record in caplog.records]
    named = [line.fields["job_id"] for line in lines]
    assert named == [first.headers["id"] for first, _ in batch[::2]]


def test_a_batch_may_contain_two_publishes_of_one_attempt(refusing: Harness) -> None:
    publish(refusing, *copies_of(a_job(), 1, 2))

    assert ready(refusing) == 1


def test_a_publish_that_is_none_of_an_outbox_is_never_refused(harness: Harness) -> None:
    """A dead letter and a returned job have the number of the publish that they come from."""
    (first,) = copies_of(a_job(), 1)
    publish(harness, first)
    harness.broker.publish(first, harness.queue)
    list(harness.broker.publish_many([first, first], harness.queue))

    assert ready(harness) == 4


def test_the_next_attempt_and_a_replay_are_not_second_publishes(harness: Harness) -> None:
    (first,) = copies_of(a_job(), 1)
    publish(harness, first)
    ended = Attempt(1, utcnow().isoformat(), "w", 0.1, "OSError", "")
    retry = next_attempt(first.headers, ended, due=utcnow())
    letter = burial.dead_letter(first.body, first.headers, {}, first.content_type, first.content_encoding)
    replayed = burial.revived(letter)

    assert copy_of(retry) is copy_of(replayed.headers) is None
    publish(
        harness, *(Envelope(first.body, stamp_copy(each, "row", 1)) for each in (retry, replayed.headers))
    )
    assert ready(harness) == 3


def test_the_server_forgets_publishes(redis_server: Any) -> None:
    from broker_harness import make_harness

    with make_harness("redis", redis_server) as harness:
        publish(harness, *copies_of(a_job(), 1))
        with redis_server.client() as client:
            (key,) = client.keys("*nightshift:copy:*")
            assert 3500 < client.ttl(key) <= 3600
