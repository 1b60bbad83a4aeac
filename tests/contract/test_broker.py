"""The contract of every broker."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from flask_nightshift.brokers.base import PUBLISH_TIMEOUT, QueueDepth
from flask_nightshift.brokers.redis.client import connect
from flask_nightshift.domain.job import Failure, Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message import burial
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from servers import wait_for
from sites import Site, a_job


def depth(site: Site, queue: str | None = None) -> QueueDepth:
    return site.broker.depths([queue or site.queue])[0]


def test_a_queue_that_does_not_exist_is_empty(site: Site) -> None:
    assert depth(site).ready == 0
    assert site.broker.peek(site.queue) == []
    assert site.broker.purge(site.queue) == 0
    assert site.broker.take_dead_letters() == []


def test_a_published_job_arrives_as_it_was_sent(site: Site) -> None:
    sent = a_job("mail.send", 1, "zwölf")

    site.broker.publish(sent, site.queue)

    with site.consumer() as receive:
        message = receive()
        assert message.headers["id"] == sent.headers["id"]
        assert message.headers["nightshift"] == sent.headers["nightshift"]
        assert message.properties["correlation_id"] == "c"
        assert message.payload[0] == [1, "zwölf"]
        message.ack()


def test_jobs_arrive_in_the_order_in_which_they_were_published(site: Site) -> None:
    sent = [a_job() for _ in range(5)]
    for job in sent:
        site.broker.publish(job, site.queue)

    with site.consumer() as receive:
        received = [receive() for _ in sent]
        for message in received:
            message.ack()

    assert [m.headers["id"] for m in received] == [job.headers["id"] for job in sent]


def test_depth_counts_the_ready_jobs(site: Site) -> None:
    for _ in range(3):
        site.broker.publish(a_job(), site.queue)

    wait_for(lambda: depth(site).ready == 3, 5, "three ready jobs")
    assert depth(site, "another").ready == 0


def test_the_oldest_is_told_where_it_can_be(site: Site) -> None:
    site.broker.publish(a_job(enqueued_at=utcnow() - timedelta(seconds=100)), site.queue)
    site.broker.publish(a_job(), site.queue)

    oldest = depth(site).oldest

    if site.can.knows_age:
        assert oldest == pytest.approx(100, abs=5)
    else:
        assert oldest is None


def test_a_delayed_job_is_not_old_when_its_time_comes(site: Site) -> None:
    if not site.can.delayed_by_queue:
        pytest.skip(f"{site.name} cannot tell the age of a delayed job")
    hour_ago = utcnow() - timedelta(hours=1)
    site.broker.publish(a_job(enqueued_at=hour_ago), site.queue, due=utcnow() + timedelta(seconds=0.3))
    site.broker.publish(a_job(), site.queue)

    with site.consumer(prefetch=1) as receive:
        receive().ack()  # a claim promotes what is due
        taken = receive()
        wait_for(lambda: depth(site).delayed == 0, 5, "the delay's end")
        taken.reject(requeue=True)

    oldest = depth(site).oldest
    assert oldest is None or oldest < 10


def test_peek_shows_the_next_jobs_and_leaves_them(site: Site) -> None:
    sent = [a_job("mail.send", n) for n in range(3)]
    for job in sent:
        site.broker.publish(job, site.queue)

    shown = site.broker.peek(site.queue, 2)

    if site.can.shows_ready:
        assert [job["id"] for job in shown] == [job.headers["id"] for job in sent[:2]]
        assert shown[0]["task"] == "mail.send"
        assert shown[0]["enqueued_at"] == sent[0].headers["nightshift"]["enqueued_at"]
        assert shown[0]["headers"]["retries"] == 0
    else:
        assert shown == []
    wait_for(lambda: depth(site).ready == 3, 5, "all three still ready")


def test_purge_deletes_the_ready_jobs_and_counts_them(site: Site) -> None:
    for _ in range(3):
        site.broker.publish(a_job(), site.queue)
    wait_for(lambda: depth(site).ready == 3, 5, "three ready jobs")

    assert site.broker.purge(site.queue) == 3
    assert depth(site).ready == 0


def test_purge_deletes_the_delayed_jobs_where_they_can_be_told(site: Site) -> None:
    if not site.can.delayed_by_queue:
        pytest.skip(f"{site.name} cannot tell whose the delayed jobs are")
    site.broker.publish(a_job(), site.queue, due=utcnow() + timedelta(seconds=60))
    site.broker.publish(a_job(), "another", due=utcnow() + timedelta(seconds=60))

    assert site.broker.purge(site.queue) == 1
    assert depth(site).delayed == 0
    assert depth(site, "another").delayed == 1


def test_a_delayed_job_arrives_at_its_time_and_not_before(site: Site) -> None:
    if not site.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    due = utcnow() + timedelta(seconds=1.2)

    site.broker.publish(a_job(), site.queue, due=due)

    with site.consumer() as receive:
        message = receive(6)
        late = (utcnow() - due).total_seconds()
        assert message is not None
        message.ack()
    assert 0 <= late < 2.0  # RabbitMQ delays by whole seconds, rounded up


def test_delayed_jobs_are_counted(site: Site) -> None:
    for _ in range(2):
        site.broker.publish(a_job(), site.queue, due=utcnow() + timedelta(seconds=60))

    if site.can.delayed_by_queue:
        assert depth(site).delayed == 2
        assert depth(site).ready == 0
    else:
        assert depth(site).delayed is None
    if site.name == "rabbitmq":
        wait_for(lambda: site.broker.delayed() == 2, 5, "two delayed jobs")
    else:
        assert site.broker.delayed() is None


def test_a_delayed_job_goes_to_its_own_queue_only(site: Site) -> None:
    """Celery's scheme alone would also put a job of ``eu.mail`` into ``mail``."""
    if not site.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    other = site.queue.partition(".")[2]
    site.broker.publish(a_job(), other)
    site.broker.purge(other)

    site.broker.publish(a_job(), site.queue, due=utcnow() + timedelta(seconds=1))

    with site.consumer() as receive:
        receive(6).ack()
    assert depth(site, other).ready == 0


def test_replace_writes_the_next_state_and_releases_the_message(site: Site) -> None:
    first, second = a_job(), a_job()
    site.broker.publish(first, site.queue)

    with site.consumer() as receive:
        assert site.broker.replace(receive(), second, site.queue) is True
        message = receive()
        assert message.headers["id"] == second.headers["id"]
        message.ack()
    # had the first one not been released, closing the consumer would have returned it
    with site.consumer() as receive:
        assert receive(1) is None


def test_replace_with_a_delay_is_a_retry(site: Site) -> None:
    if not site.can.keeps_delays:
        pytest.skip("kombu's own transport delays in the worker's memory")
    site.broker.publish(a_job(), site.queue)
    retry, due = a_job(), utcnow() + timedelta(seconds=1)

    with site.consumer() as receive:
        assert site.broker.replace(receive(), retry, site.queue, due=due) is True
        message = receive(6)
        assert utcnow() >= due
        assert message.headers["id"] == retry.headers["id"]
        message.ack()


def bury(site: Site, job: Envelope, message: object) -> None:
    headers = burial.buried(
        job.headers,
        reason=Reason.PERMANENT,
        failure=Failure("ValueError", "no such user", "Traceback"),
        queue=site.queue,
        worker="w@host",
        at=utcnow(),
    )
    envelope = Envelope(job.body, headers, job.properties, job.content_type, job.content_encoding)
    assert site.broker.replace(message, envelope, DEAD_QUEUE) is True


def test_a_buried_job_is_taken_until_it_is_done(site: Site) -> None:
    job = a_job("mail.send", "zwölf", eta=(utcnow() + timedelta(days=1)).isoformat())
    site.broker.publish(job, site.queue)
    with site.consumer() as receive:
        bury(site, job, receive())

    (taken,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter")

    letter = taken.letter
    assert (letter.reason, letter.job_id, letter.task) == (Reason.PERMANENT, job.headers["id"], "mail.send")
    assert (letter.queue, letter.worker) == (site.queue, "w@host")
    assert letter.failure == Failure("ValueError", "no such user", "Traceback")
    assert (letter.body, letter.content_type) == (job.body, "application/json")

    # not done: it comes again, the same
    (again,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter again")
    assert again.letter.id == letter.id
    again.done()
    assert site.broker.take_dead_letters() == []
    assert depth(site, DEAD_QUEUE).ready == 0


def test_dead_letters_come_oldest_first_and_no_more_than_wanted(site: Site) -> None:
    sent = [a_job() for _ in range(5)]
    for job in sent:
        site.broker.publish(job, DEAD_QUEUE)
    wait_for(lambda: depth(site, DEAD_QUEUE).ready == 5, 5, "five dead letters")

    taken = site.broker.take_dead_letters(3)

    assert [t.letter.job_id for t in taken] == [job.headers["id"] for job in sent[:3]]
    for one in taken:
        one.done()
    assert len(wait_for(site.broker.take_dead_letters, 5, "the other two")) == 2


def test_a_dead_letter_with_a_priority_is_found(site: Site) -> None:
    job = a_job()
    job.properties["priority"] = 9
    site.broker.publish(job, DEAD_QUEUE)

    (taken,) = wait_for(site.broker.take_dead_letters, 5, "the dead letter")

    assert taken.letter.properties["priority"] == 9
    taken.done()
    assert site.broker.take_dead_letters() == []


def test_garbage_in_the_dead_letter_queue_does_not_block_it(site: Site) -> None:
    site.broker.publish(Envelope(b"\xff\xfe not json", {}, {}, "application/x-unknown", "binary"), DEAD_QUEUE)
    if site.name == "memory":
        site.broker.server.publish(DEAD_QUEUE, b"\x00garbage")  # type: ignore[attr-defined]
    elif site.name != "rabbitmq":
        client = connect(site.broker.celery_settings()["broker_url"], {}, None, 2)
        client.lpush(DEAD_QUEUE, b"\x00garbage")

    taken = wait_for(site.broker.take_dead_letters, 5, "the dead letters")

    bodies = [one.letter.body for one in taken]
    assert bodies == (
        [b"\xff\xfe not json"] if site.name == "rabbitmq" else [b"\xff\xfe not json", b"\x00garbage"]
    )
    for one in taken:
        one.done()
    assert site.broker.take_dead_letters() == []


def test_health_names_the_product(site: Site) -> None:
    health = site.broker.health()

    known = {"embedded": ("Valkey", "9."), "rabbitmq": ("RabbitMQ", "3."), "memory": ("Memory", "")}
    product, version = known.get(site.name, ("Redis", "7."))
    assert health.product == product
    assert health.version.startswith(version)
    assert 0 < health.latency < 2


def test_a_good_server_is_found_good(site: Site) -> None:
    found = site.broker.diagnose(longest_time_limit=600.0, queues=[site.queue])

    if not site.can.shared:
        pytest.skip(f"{site.name} is for tests, and says so")
    assert [f for f in found if f.level != "ok"] == []
    assert len(found) >= 3


def test_the_broker_can_be_used_from_many_threads(site: Site) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: site.broker.publish(a_job(), site.queue), range(40)))

    wait_for(lambda: depth(site).ready == 40, 5, "forty ready jobs")


def test_a_closed_broker_can_be_used_again(site: Site) -> None:
    site.broker.publish(a_job(), site.queue)
    site.broker.close()
    site.broker.publish(a_job(), site.queue)
    assert site.broker.health()
    wait_for(lambda: depth(site).ready == 2, 5, "two ready jobs")


@pytest.mark.parametrize(
    ("trouble", "connected"), [("stop", True), ("kill", True), ("freeze", True), ("freeze", False)]
)
def test_everything_fails_fast_when_the_server_is_away(site: Site, trouble: str, connected: bool) -> None:
    if connected:
        site.broker.publish(a_job(), site.queue)
    getattr(site.server, trouble)()

    def fails_fast(ask: Callable[[], object]) -> str:
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            ask()
        assert time.monotonic() - started < PUBLISH_TIMEOUT
        return str(caught.value)

    said = [fails_fast(lambda: site.broker.publish(a_job(), site.queue))]
    with ThreadPoolExecutor() as pool:
        said += pool.map(
            fails_fast,
            [
                lambda: site.broker.publish(a_job(), site.queue, due=utcnow() + timedelta(seconds=60)),
                lambda: site.broker.depths([site.queue]),
                lambda: site.broker.purge(site.queue),
                lambda: site.broker.take_dead_letters(),
                lambda: site.broker.health(1.0),
            ],
        )
    assert "s3cret" not in "".join(said)
    assert site.broker.url.partition("@")[2] in said[0]
    assert site.broker.diagnose(longest_time_limit=60, queues=[])[0].level == "error"

    # when it is back, all goes on by itself
    site.server.ensure()
    wait_for(lambda: site.accepts(), 20, "a publish")
    wait_for(lambda: depth(site).ready >= 1, 5, "a ready job")


def test_a_message_whose_next_state_cannot_be_written_stays_unacknowledged(site: Site) -> None:
    job = a_job()
    site.broker.publish(job, site.queue)

    with site.consumer() as receive:
        message = receive()
        site.server.freeze()
        with pytest.raises(BrokerUnavailable):
            site.broker.replace(message, a_job(), site.queue)
        assert not message.acknowledged
        site.server.thaw()

    # it comes back: another consumer gets it (with kombu's transport it was returned when the channel closed)
    with site.consumer() as receive:
        ids = {m.headers["id"] for m in iter(lambda: receive(2), None)}
        assert job.headers["id"] in ids
