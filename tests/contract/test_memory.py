"""``memory://`` only: a clock that tests can move, and a worker inside this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from flask import Flask

from broker_harness import Harness, InProcess, a_job, make_harness
from flask_nightshift import Nightshift, PermanentFailure
from flask_nightshift.brokers import connect
from flask_nightshift.brokers.memory.broker import MemoryBroker
from flask_nightshift.cli import jobs as group
from flask_nightshift.config import settings as config
from flask_nightshift.dead_letters import Filters, replay
from flask_nightshift.domain.job import Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable, ConfigurationError
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.message.headers import deliveries
from flask_nightshift.observe import doctor
from flask_nightshift.operations.cancelling import cancel
from flask_nightshift.services import current
from flask_nightshift.worker import main
from servers import wait_for


@pytest.fixture
def harness(in_process: InProcess) -> Iterator[Harness]:
    with make_harness("memory", in_process, NIGHTSHIFT_DELIVERY_LIMIT=3) as made:
        yield made


def broker_of(harness: Harness) -> MemoryBroker:
    assert isinstance(harness.broker, MemoryBroker)
    return harness.broker


def test_a_test_can_advance_the_clock_by_an_hour(harness: Harness) -> None:
    broker, due = broker_of(harness), utcnow() + timedelta(hours=1)
    broker.publish(a_job(), harness.queue, due=due)

    with harness.consumer() as receive:
        assert receive(0.1) is None
        broker.advance(3590)
        assert receive(0.1) is None
        broker.advance(20)
        message = receive(0.1)

    assert message.headers["eta"] is None, "a worker would wait for it again"
    assert message.delivery_info["eta"] == due.isoformat()


def test_a_clock_can_be_given(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = "memory://"
    clock = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    broker = MemoryBroker(config.load(app), now=lambda: clock)
    broker.publish(a_job(), "mail", due=datetime(2030, 1, 2, tzinfo=UTC))

    assert broker.depths(["mail"])[0].delayed == 1
    clock += 86_400
    assert (broker.depths(["mail"])[0].delayed, broker.depths(["mail"])[0].ready) == (0, 1)


def test_the_lowest_priority_is_served_first(harness: Harness) -> None:
    for priority in (5, 0, 9, 0):
        harness.broker.publish(
            Envelope(b"[[], {}, {}]", a_job().headers, {"priority": priority}), harness.queue
        )

    with harness.consumer(prefetch=1) as receive:
        served = []
        for _ in range(4):
            message = receive(1)
            served.append(message.properties["priority"])
            message.ack()

    assert served == [0, 0, 5, 9]


def test_a_message_that_comes_back_too_often_is_a_dead_letter(harness: Harness) -> None:
    job = a_job()
    harness.broker.publish(job, harness.queue)

    seen = []
    with harness.consumer() as receive:
        while message := receive(0.2):
            seen.append(deliveries(message.headers))
            harness.broker.give_back(message)

    assert seen == [0, 1, 2]
    (taken,) = harness.broker.take_dead_letters()
    assert (taken.letter.reason, taken.letter.job_id) == (Reason.DELIVERY_LIMIT, job.headers["id"])
    assert (taken.letter.queue, taken.letter.body) == (harness.queue, job.body)


@pytest.mark.parametrize(("crashed", "counted"), [(False, [0, 0]), (True, [1, 0])])
def test_a_consumer_that_ends_gives_back_all_and_counts_what_may_have_crashed_it(
    harness: Harness, crashed: bool, counted: list[int]
) -> None:
    for _ in range(2):
        harness.broker.publish(a_job(), harness.queue)

    with harness.consumer() as receive:
        first, second = receive(), receive()
        assert harness.broker.begin(first)
        harness.broker.worker_ends(first.channel, crashed=crashed)
    assert not harness.broker.holds(second)

    with harness.consumer() as receive:
        assert [deliveries(receive(1).headers) for _ in range(2)] == counted


def test_a_message_is_settled_once(harness: Harness) -> None:
    harness.broker.publish(a_job(), harness.queue)
    with harness.consumer() as receive:
        message = receive()
    # the consumer has ended, and another has the message
    with harness.consumer() as receive:
        again = receive()
        assert harness.broker.replace(message, a_job(), harness.queue) is False
        again.ack()
    assert harness.broker.depths([harness.queue])[0].ready == 0


def test_delayed_jobs_can_be_seen_taken_and_started(harness: Harness) -> None:
    jobs = [a_job(f"mail.{n}") for n in range(3)]
    for n, job in enumerate(jobs):
        harness.broker.publish(job, harness.queue, due=utcnow() + timedelta(hours=3 - n))
    ids = [str(job.headers["id"]) for job in jobs]
    hold = harness.broker.delayed_jobs()
    assert hold is not None

    assert [job.job_id for job in hold.soonest(harness.queue, 2)] == [ids[2], ids[1]]
    assert hold.like(harness.queue, ids[0][:12], 5) == [ids[0]]
    (taken,) = hold.take(harness.queue, {ids[0]: None})
    assert taken.envelope.body == jobs[0].body
    assert hold.take(harness.queue, {ids[0]: None}) == []
    assert hold.run_now(harness.queue, {ids[1]: None}) == [ids[1]]
    assert hold.run_now(harness.queue, {ids[1]: None}) == []
    with harness.consumer() as receive:
        message = receive(1)
        assert message.headers["id"] == ids[1]
        message.ack()


def test_no_other_process_has_it(harness: Harness) -> None:
    child = os.fork()
    if not child:
        try:
            harness.broker.publish(a_job(), harness.queue)
        except BrokerUnavailable:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_apps_share_it_by_its_name_only(tmp_path: Path) -> None:
    def broker(url: str) -> Any:
        app = Flask("shop", instance_path=str(tmp_path))
        app.config["NIGHTSHIFT_BROKER_URL"] = url
        return connect(config.load(app), app)

    one, same, other = broker("memory://shop"), broker("memory://shop"), broker("memory://")
    one.publish(a_job(), "mail")
    assert [each.depths(["mail"])[0].ready for each in (one, same, other)] == [1, 1, 0]


# -- with an app -------------------------------------------------------------------------------------------

jobs = Nightshift()
ran: list[str] = []


@jobs.task(name="memory.flaky", bind=True, max_retries=3, retry_backoff=3600, retry_jitter=False)
def flaky(self: Any, word: str) -> None:
    ran.append(f"{word} {self.request.retries}")
    if self.request.retries < 2:
        raise ConnectionError("not yet")


@jobs.task(name="memory.hopeless")
def hopeless(word: str) -> None:
    ran.append(word)
    if ran.count(word) < 2:
        raise PermanentFailure("no such user")


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = "memory://"
    jobs.init_app(app)
    ran.clear()
    with app.app_context():
        current().store.migrate()
        yield app
        current().close()


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_of_this_process_retries_buries_and_runs_a_replay(app: Flask, pool: str) -> None:
    broker: Any = current().broker
    with start_worker(current().celery, 1, pool, perform_ping_check=False):
        flaky.delay("hello")
        for retries in range(2):
            wait_for(lambda n=retries: ran == [f"hello {each}" for each in range(n + 1)], 10, "an attempt")
            wait_for(lambda: broker.depths(["celery"])[0].delayed == 1, 10, "its retry")
            broker.advance(4 * 3600)
        wait_for(lambda: ran[-1] == "hello 2", 10, "the last attempt")

        hopeless.delay("bye")
        assert wait_for(replayed, 10, "the dead letter") == 1
        wait_for(lambda: ran.count("bye") == 2, 10, "the replay")
    assert broker.depths([DEAD_QUEUE])[0].ready == 0


@jobs.task(name="memory.hold")
def hold(word: str) -> None:
    ran.append(word)
    while True:
        jobs.current.check_cancelled()
        time.sleep(0.01)


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_job_is_cancelled_while_it_waits_in_the_queue_or_a_worker_and_while_it_runs(
    app: Flask, pool: str
) -> None:
    services: Any = current()
    delayed, waits = flaky.apply_async(("never",), countdown=60), flaky.delay("never")
    for job in (delayed, waits):
        assert cancel(services, job.id, by="a test").removed
    with start_worker(services.celery, 1, pool, perform_ping_check=False, prefetch_multiplier=5):
        holder, held, also = (task.delay("held") for task in (hold, flaky, flaky))
        wait_for(lambda: ran == ["held"], 10, "the job that runs")
        services.journal.flush()
        for job in (held, also, holder):
            cancel(services, job.id, by="a test")
        for job in (held, also, holder):
            wait_for(lambda each=job.id: jobs.job(each).state == "cancelled", 10, job.id)
        wait_for(lambda: services.orders.count_tombstones() == 0, 10, "the tombstones")
        hopeless.delay("next")
        wait_for(lambda: ran == ["held", "next"], 10, "the next job")


def replayed() -> int:
    return len(replay(current().store, current().broker, Filters()).ids)


def test_starting_a_separate_process_is_refused(app: Flask) -> None:
    runner = app.test_cli_runner()
    for command in ("worker", "beat", "up"):
        result = runner.invoke(group, [command])
        assert result.exit_code == 1
        assert "no other process reaches memory://" in result.output
    findings = [each for each in doctor.examine(current()) if each.check == "broker"]
    assert [each.level for each in findings] == ["ok", "error"]
    assert "embedded://" in findings[1].remedy


def test_a_prefork_pool_on_memory_is_refused(app: Flask) -> None:
    with pytest.raises(ConfigurationError, match="--pool solo or threads"):
        current().celery.Worker(pool_cls="prefork", loglevel="CRITICAL")


def test_a_worker_process_on_memory_is_refused(app: Flask) -> None:
    with pytest.raises(ConfigurationError, match="no other process"):
        main.run(current())
