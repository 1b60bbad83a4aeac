"""The contract of every broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import newer
from broker_harness import Harness, a_job
from flask_nightshift.brokers.base import PUBLISH_TIMEOUT
from flask_nightshift.brokers.values import QueueDepth
from flask_nightshift.domain.job import Failure, Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message import burial
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from servers import wait_for


def depth(harness: Harness, queue: str | None = None) -> QueueDepth:
    return harness.broker.depths([queue or harness.queue])[0]


def test_a_queue_that_does_not_exist_is_empty(harness: Harness) -> None:
    assert depth(harness).ready == 0
    assert harness.broker.purge(harness.queue) == 0
    assert harness.broker.take_dead_letters() == []


def test_a_published_job_arrives_as_it_was_sent(harness: Harness) -> None:
    sent = a_job("mail.send", 1, "zwölf")

    harness.broker.publish(sent, harness.queue)

    with harness.consumer() as receive:
        message = receive()
        assert message.headers["id"] == sent.headers["id"]
        assert message.headers["nightshift"] == sent.headers["nightshift"]
        assert message.properties["correlation_id"] == "c"
        assert message.payload[0] == [1, "zwölf"]
        message.ack()


def test_jobs_arrive_in_the_order_in_which_they_were_published(harness: Harness) -> None:
    sent = [a_job() for _ in range(5)]
    for job in sent:
        harness.broker.publish(job, harness.queue)

    with harness.consumer() as receive:
        received = [receive() for _ in sent]
        for message in received:
            message.ack()

    assert [m.headers["id"] for m in received] == [job.headers["id"] for job in sent]


def test_depth_counts_the_ready_jobs(harness: Harness) -> None:
    for _ in range(3):
        harness.broker.publish(a_job(), harness.queue)

    wait_for(lambda: depth(harness).ready == 3, 5, "three ready jobs")
    assert depth(harness, "another").ready == 0


def test_the_age_of_the_oldest_job_is_known_on_brokers_that_can_tell(harness: Harness) -> None:
    harness.broker.publish(a_job(enqueued_at=utcnow() - timedelta(seconds=100)), harness.queue)
    harness.broker.publish(a_job(), harness.queue)

    oldest = depth(harness).oldest

    if harness.can.knows_age:
        assert oldest == pytest.approx(100, abs=5)
    else:
        assert oldest is None


def test_a_delayed_job_is_not_old_when_its_time_comes(harness: Harness) -> None:
    if not harness.can.delayed_by_queue:
        pytest.skip(f"{harness.name} cannot tell the age of a delayed job")
    hour_ago = utcnow() - timedelta(hours=1)
    harness.broker.publish(a_job(enqueued_at=hour_ago), harness.queue, due=utcnow() + timedelta(seconds=0.3))
    harness.broker.publish(a_job(), harness.queue)

    with harness.consumer(prefetch=1) as receive:
        receive().ack()  # a claim promotes what is due
        taken = receive()
        wait_for(lambda: depth(harness).delayed == 0, 5, "the delay's end")
        taken.reject(requeue=True)

    oldest = depth(harness).oldest
    assert oldest is None or oldest < 10


def test_purge_deletes_the_ready_jobs_and_counts_them(harness: Harness) -> None:
    for _ in range(3):
        harness.broker.publish(a_job(), harness.queue)
    wait_for(lambda: depth(harness).ready == 3, 5, "three ready jobs")

    assert harness.broker.purge(harness.queue) == 3
    assert depth(harness).ready == 0


def test_purge_deletes_delayed_jobs_if_the_broker_can_find_them(harness: Harness) -> None:
    if not harness.can.delayed_by_queue:
        pytest.skip(f"{harness.name} cannot tell whose the delayed jobs are")
    harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=60))
    harness.broker.publish(a_job(), "another", due=utcnow() + timedelta(seconds=60))

    assert harness.broker.purge(harness.queue) == 1
    assert depth(harness).delayed == 0
    assert depth(harness, "another").delayed == 1


def test_a_delayed_job_arrives_at_its_time_and_not_before(harness: Harness) -> None:
    if not harness.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    due = utcnow() + timedelta(seconds=1.2)

    harness.broker.publish(a_job(), harness.queue, due=due)

    with harness.consumer() as receive:
        message = receive(6)
        late = (utcnow() - due).total_seconds()
        assert message is not None
        message.ack()
    assert 0 <= late < 2.0  # RabbitMQ delays by whole seconds, rounded up


def test_delayed_jobs_are_counted(harness: Harness) -> None:
    for _ in range(2):
        harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=60))

    if harness.can.delayed_by_queue:
        assert depth(harness).delayed == 2
        assert depth(harness).ready == 0
    else:
        assert depth(harness).delayed is None
    if harness.name == "rabbitmq":
        wait_for(lambda: harness.broker.delayed() == 2, 5, "two delayed jobs")
    else:
        assert harness.broker.delayed() is None


def test_a_delayed_job_goes_to_its_own_queue_only(harness: Harness) -> None:
    """Celery's scheme alone would also put a job of ``eu.mail`` into ``mail``."""
    if not harness.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    other = harness.queue.partition(".")[2]
    harness.broker.publish(a_job(), other)
    harness.broker.purge(other)

    harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=1))

    with harness.consumer() as receive:
        receive(6).ack()
    assert depth(harness, other).ready == 0


def test_replace_writes_the_next_state_and_releases_the_message(harness: Harness) -> None:
    first, second = a_job(), a_job()
    harness.broker.publish(first, harness.queue)

    with harness.consumer() as receive:
        assert harness.broker.replace(receive(), second, harness.queue) is True
        message = receive()
        assert message.headers["id"] == second.headers["id"]
        message.ack()
    # had the first one not been released, closing the consumer would have returned it
    with harness.consumer() as receive:
        assert receive(1) is None


def test_replace_with_a_delay_is_a_retry(harness: Harness) -> None:
    if not harness.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    harness.broker.publish(a_job(), harness.queue)
    retry, due = a_job(), utcnow() + timedelta(seconds=1)

    with harness.consumer() as receive:
        assert harness.broker.replace(receive(), retry, harness.queue, due=due) is True
        message = receive(6)
        assert utcnow() >= due
        assert message.headers["id"] == retry.headers["id"]
        message.ack()


def bury(harness: Harness, job: Envelope, message: object) -> None:
    headers = burial.buried(
        job.headers,
        reason=Reason.PERMANENT,
        failure=Failure("ValueError", "no such user", "Traceback"),
        queue=harness.queue,
        worker="w@host",
        at=utcnow(),
    )
    envelope = Envelope(job.body, headers, job.properties, job.content_type, job.content_encoding)
    assert harness.broker.replace(message, envelope, DEAD_QUEUE) is True


def test_a_buried_job_is_taken_until_it_is_done(harness: Harness) -> None:
    job = a_job("mail.send", "zwölf", eta=(utcnow() + timedelta(days=1)).isoformat())
    harness.broker.publish(job, harness.queue)
    with harness.consumer() as receive:
        bury(harness, job, receive())

    (taken,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter")

    letter = taken.letter
    assert (letter.reason, letter.job_id, letter.task) == (Reason.PERMANENT, job.headers["id"], "mail.send")
    assert (letter.queue, letter.worker) == (harness.queue, "w@host")
    assert letter.failure == Failure("ValueError", "no such user", "Traceback")
    assert (letter.body, letter.content_type) == (job.body, "application/json")

    # not done: it comes again, the same
    (again,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter again")
    assert again.letter.id == letter.id
    again.done()
    assert harness.broker.take_dead_letters() == []
    assert depth(harness, DEAD_QUEUE).ready == 0


def test_dead_letters_come_oldest_first_and_no_more_than_wanted(harness: Harness) -> None:
    sent = [a_job() for _ in range(5)]
    for job in sent:
        harness.broker.publish(job, DEAD_QUEUE)
    wait_for(lambda: depth(harness, DEAD_QUEUE).ready == 5, 5, "five dead letters")

    taken = harness.broker.take_dead_letters(3)

    assert [t.letter.job_id for t in taken] == [job.headers["id"] for job in sent[:3]]
    for one in taken:
        one.done()
    assert len(wait_for(harness.broker.take_dead_letters, 5, "the other two")) == 2


def test_a_dead_letter_with_a_priority_is_found(harness: Harness) -> None:
    job = a_job()
    job.properties["priority"] = 9
    harness.broker.publish(job, DEAD_QUEUE)

    (taken,) = wait_for(harness.broker.take_dead_letters, 5, "the dead letter")

    assert taken.letter.properties["priority"] == 9
    taken.done()
    assert harness.broker.take_dead_letters() == []


def test_garbage_in_the_dead_letter_queue_does_not_block_it(harness: Harness) -> None:
    harness.broker.publish(
        Envelope(b"\xff\xfe not json", {}, {}, "application/x-unknown", "binary"), DEAD_QUEUE
    )
    if harness.name == "memory":
        harness.broker.server.publish(DEAD_QUEUE, b"\x00garbage")  # type: ignore[attr-defined]
    elif harness.name != "rabbitmq":
        harness.redis().lpush(harness.key(DEAD_QUEUE), b"\x00garbage")

    taken = wait_for(harness.broker.take_dead_letters, 5, "the dead letters")

    bodies = [one.letter.body for one in taken]
    assert bodies == (
        [b"\xff\xfe not json"] if harness.name == "rabbitmq" else [b"\xff\xfe not json", b"\x00garbage"]
    )
    for one in taken:
        one.done()
    assert harness.broker.take_dead_letters() == []


def test_health_names_the_product(harness: Harness) -> None:
    health = harness.broker.health()

    known = {"embedded": ("Valkey", "9."), "rabbitmq": ("RabbitMQ", "3."), "memory": ("Memory", "")}
    if newer.WANTED:
        known |= {"rabbitmq": ("RabbitMQ", "4."), "redis": ("Redis", "8."), "kombu": ("Redis", "8.")}
    product, version = known.get(harness.name, ("Redis", "7."))
    assert health.product == product
    assert health.version.startswith(version)
    assert 0 < health.latency < 2


def test_doctor_reports_no_problem_of_a_good_server(harness: Harness) -> None:
    found = harness.broker.diagnose(longest_time_limit=600.0, queues=[harness.queue])

    if not harness.can.shared:
        pytest.skip(f"{harness.name} is for tests, and says so")
    assert [f for f in found if f.level not in ("ok", "info")] == []
    assert len(found) >= 3


def test_the_broker_can_be_used_from_many_threads(harness: Harness) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: harness.broker.publish(a_job(), harness.queue), range(40)))

    wait_for(lambda: depth(harness).ready == 40, 5, "forty ready jobs")


def test_a_closed_broker_can_be_used_again(harness: Harness) -> None:
    harness.broker.publish(a_job(), harness.queue)
    harness.broker.close()
    harness.broker.publish(a_job(), harness.queue)
    assert harness.broker.health()
    wait_for(lambda: depth(harness).ready == 2, 5, "two ready jobs")


@pytest.mark.parametrize(
    ("trouble", "connected"), [("stop", True), ("kill", True), ("freeze", True), ("freeze", False)]
)
def test_everything_fails_fast_while_the_server_is_down(
    harness: Harness, trouble: str, connected: bool
) -> None:
    if connected:
        harness.broker.publish(a_job(), harness.queue)
    getattr(harness.server, trouble)()

    def fails_fast(ask: Callable[[], object]) -> str:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            ask()
        assert time.monotonic() - started < PUBLISH_TIMEOUT
        return str(caught.value)

    said = [fails_fast(lambda: harness.broker.publish(a_job(), harness.queue))]
    with ThreadPoolExecutor() as pool:
        said += pool.map(
            fails_fast,
            [
                lambda: harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=60)),
                lambda: harness.broker.depths([harness.queue]),
                lambda: harness.broker.purge(harness.queue),
                lambda: harness.broker.take_dead_letters(),
                lambda: harness.broker.health(1.0),
            ],
        )
    assert "s3cret" not in "".join(said)
    assert harness.broker.url.partition("@")[2] in said[0]
    assert harness.broker.diagnose(longest_time_limit=60, queues=[])[0].level == "error"

    # when it is back, all goes on by itself
    harness.server.ensure()
    wait_for(lambda: harness.accepts(), 20, "a publish")
    wait_for(lambda: depth(harness).ready >= 1, 5, "a ready job")


def test_a_message_whose_next_state_cannot_be_written_stays_unacknowledged(harness: Harness) -> None:
    job = a_job()
    harness.broker.publish(job, harness.queue)

    with harness.consumer() as receive:
        message = receive()
        harness.server.freeze()
        with pytest.raises(BrokerUnavailable):
            harness.broker.replace(message, a_job(), harness.queue)
        assert not message.acknowledged
        harness.server.thaw()

    # it comes back: another consumer gets it (with kombu's transport it was returned when the channel closed)
    with harness.consumer() as receive:
        ids = {m.headers["id"] for m in iter(lambda: receive(2), None)}
        assert job.headers["id"] in ids
