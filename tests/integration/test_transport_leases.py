"""The ownership of messages when consumers die, freeze, fork, lose their connection or stop cleanly."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from kombu import Queue
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from declared_keys import declared_keys
from flask_nightshift.brokers.redis.transport import reclaim
from flask_nightshift.brokers.redis.transport.lease import LeaseLost
from flask_nightshift.brokers.redis.transport.reclaim import AFTER_OUTAGE
from flask_nightshift.brokers.redis.transport.renewal import _now
from flask_nightshift.text.lines import LOGGER
from servers import wait_for
from transport_support import BOOKS, QUEUE, Harness, bodies, child, eta, look_for_dead

__all__ = ["declared_keys"]
pytestmark = pytest.mark.usefixtures("declared_keys")

SHORT: dict[str, Any] = {"lease_seconds": 1.5, "lease_renew_seconds": 0.3}


@pytest.fixture(params=["valkey", "redis_server"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    made = Harness(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def lost(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How often ``job.lease_lost`` was logged."""
    for name in ("flask_nightshift.transport", LOGGER):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)  # as another test may have left it
        caplog.set_level(logging.INFO, logger=name)
    return lambda: sum("job.lease_lost" in record.message for record in caplog.records)


# a consumer that is gone


def test_the_jobs_of_a_killed_process_run_again_within_five_seconds(harness: Harness) -> None:
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    harness.publish("first")
    with child(harness) as worker:
        assert worker.holds == "first"
        reader = harness.reader()
        assert reader.within(0.5) == []
        killed = time.monotonic()
        worker.send(signal.SIGKILL)
        message = reader.next(timeout=10)
        assert time.monotonic() - killed < 5
    assert (message.payload, message.headers["x-delivery-count"]) == ("first", 1)
    message.ack()
    wait_for(lambda: harness.keys() == BOOKS, 3, "the dead consumer left something")


def test_a_new_worker_alone_finds_what_a_killed_one_left(harness: Harness) -> None:
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    harness.publish("first")
    with child(harness) as worker:
        worker.send(signal.SIGKILL)
    started = time.monotonic()
    assert harness.reader().next(timeout=10).payload == "first"
    assert time.monotonic() - started < 10


def test_the_deadline_decides_where_clients_may_not_be_listed(harness: Harness) -> None:
    harness.redis.acl_setuser(
        "worker", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-client|list"]
    )
    harness.publish("first")
    harness.url = harness.url.replace(f":{harness.server.password}@", "worker:any@")
    options: dict[str, Any] = {"lease_seconds": 3, "lease_renew_seconds": 0.5}
    with child(harness, **options) as worker:
        reader = harness.reader(**options)
        worker.send(signal.SIGKILL)
        killed = time.monotonic()
        assert reader.next(timeout=10).payload == "first"
        assert 2 < time.monotonic() - killed < 6


def test_a_job_that_kills_its_worker_every_time_is_buried(harness: Harness) -> None:
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    harness.publish("deadly", headers={"id": "j"})
    for _ in range(2):
        with child(harness, delivery_limit=2) as worker:
            assert worker.holds == "deadly"
            worker.send(signal.SIGKILL)
    reader = harness.reader(delivery_limit=2)
    wait_for(lambda: reader.within(0.1) or harness.dead(), 20, "it was not buried")
    (letter,) = harness.dead()
    assert letter["headers"]["nightshift_dead"]["reason"] == "delivery_limit"


def test_a_frozen_consumer_is_fenced(harness: Harness) -> None:
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    for number in range(4):
        harness.publish(number)
    with child(harness, **SHORT) as worker:
        reader = harness.reader(**SHORT)
        worker.send(signal.SIGSTOP)
        taken = bodies(reader.take(4))
        assert taken == [0, 1, 2, 3]
        worker.send(signal.SIGCONT)
        worker.go_on()
        said = [worker.line()]
        while said[-1] and "LeaseLost" not in said[-1]:
            said.append(worker.line())
        assert "LeaseLost" in said[-1]
        assert any("job.lease_lost" in line for line in said)
        assert not any(line.startswith("next") for line in said), (
            "it was given more after its lease was taken"
        )
    assert sorted(harness.leased()) == [0, 1, 2, 3], "its late acknowledgement changed something"


def test_a_consumer_that_was_taken_over_changes_nothing_and_starts_afresh(
    harness: Harness, lost: Any
) -> None:
    for number in range(3):
        harness.publish(number)
    reader = harness.reader(prefetch=3)
    one, two, three = reader.take(3)
    _take_over(harness, reader)
    one.ack()
    assert not reader.replace(two, "replaced", queue="other")
    three.reject(requeue=True)
    wait_for(lambda: reader.lease.lost, 5, "it does not notice")
    wait_for(lambda: lost() >= 3, 5, "it does not say so")
    assert (harness.ready(), harness.ready("other"), harness.leased()) == ([0, 1, 2], [], [])
    with pytest.raises(LeaseLost):
        reader.within(1)
    again = reader.take(3)
    assert [message.headers["x-delivery-count"] for message in again] == [1, 1, 1]
    for message in again:
        message.ack()
    wait_for(lambda: harness.keys() == BOOKS, 3, "it does not work after that")


def test_undelivered_messages_of_a_taken_over_consumer_are_not_delivered(harness: Harness) -> None:
    for number in range(3):
        harness.publish(number)
    reader = harness.reader(prefetch=1)
    reader.next()
    _take_over(harness, reader)
    wait_for(lambda: reader.lease.lost, 5, "it does not notice")
    with pytest.raises(reader.connection.connection_errors):
        reader.next(1)
    assert not reader.got


def test_flushall_is_survived(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    reader.next()
    harness.redis.flushall()
    with pytest.raises(LeaseLost):
        reader.within(5)
    harness.publish("b")
    assert reader.next().payload == "b"


# a consumer that lives


def test_a_busy_consumer_keeps_its_lease(harness: Harness) -> None:
    harness.publish("a")
    busy, other = harness.reader(**SHORT), harness.reader(**SHORT)
    message = busy.next()
    assert other.within(3 * SHORT["lease_seconds"]) == []  # meanwhile ``busy`` does not poll at all
    message.ack()
    wait_for(lambda: not harness.leased(), 1, "the acknowledgement was refused")


def test_a_keeper_whose_connection_is_cut_is_back_before_anyone_takes_over(harness: Harness) -> None:
    harness.publish("a")
    reader, other = harness.reader(), harness.reader()
    reader.next()
    for _ in range(3):
        before = harness.redis.hget("nightshift:clients", reader.lease.id)
        harness.redis.client_kill_filter(_id=before)
        wait_for(
            lambda before=before: harness.redis.hget("nightshift:clients", reader.lease.id) != before,
            1,
            "not back",
        )
    assert other.within(3) == []
    assert harness.leased() == ["a"]
    assert harness.redis.zcard("nightshift:suspects") == 0


def test_a_machine_that_slept_longer_than_the_leases_gives_nothing_out_twice(harness: Harness) -> None:
    """The first process that wakes finds all leases expired, its own and those of processes still asleep."""
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    options: dict[str, Any] = {"lease_seconds": 6, "lease_renew_seconds": 1.5}
    with ExitStack() as stack:
        worker, early = (_holding(stack, harness, body, **options) for body in ("first", "second"))
        worker.send(signal.SIGSTOP)
        early.send(signal.SIGSTOP)
        harness.server.freeze()
        time.sleep(7)
        harness.server.thaw()
        early.send(signal.SIGCONT)
        new = harness.reader(**options)
        assert new.within(1.4) == []
        assert harness.redis.zcard("nightshift:late") >= 1
        worker.send(signal.SIGCONT)
        assert new.within(6) == [], "given to another, although its worker lives"
        assert sorted(harness.leased()) == ["first", "second"]


def test_after_a_broken_connection_what_is_in_use_stays_and_the_rest_returns(harness: Harness) -> None:
    for number in range(4):
        harness.publish(number)
    reader = harness.reader(prefetch=5)
    running, retried, *waiting = reader.take(4)
    harness.redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(reader.connection.connection_errors):
        reader.within(3)
    reader.connection.collect()  # as Celery does
    del waiting
    gc.collect()
    wait_for(lambda: harness.ready() == [2, 3], 3, "what nobody holds did not return")
    assert sorted(harness.leased()) == [0, 1]
    other = harness.reader()
    assert sorted(bodies(other.take(2))) == [2, 3]
    assert other.within(3) == [], "a running job was given to another"
    running.ack()
    assert reader.replace(retried, "retry", due=time.time() + 60)
    wait_for(lambda: sorted(harness.leased()) == [2, 3], 3, "late settlements did not arrive")
    wait_for(lambda: harness.redis.zcard("nightshift:consumers") == 1, 3, "the old lease did not end")


def test_a_claim_whose_answer_is_lost_strands_no_message(harness: Harness) -> None:
    harness.publish("held")
    reader = harness.reader(prefetch=5)
    held = reader.next()
    before = reader.lease
    harness.publish("claimed unseen")
    harness.server.freeze()
    try:
        consumer = reader.channel.consumer
        consumer.stop_polling()
        consumer._send_claim(consumer._claims.new(before, [QUEUE], 3))
        reader.channel.client.connection.disconnect()  # as kombu's health check does
    finally:
        harness.server.thaw()
    assert reader.next().payload == "claimed unseen"
    assert reader.lease is not before
    held.ack()
    wait_for(lambda: harness.leased() == ["claimed unseen"], 3, "not acknowledged")


def test_a_claim_sent_twice_overwrites_nothing(harness: Harness) -> None:
    from flask_nightshift.brokers.redis.transport import scripts

    for number in range(4):
        harness.publish(number)
    channel = harness.connect().channel()
    claims = channel.consumer._claims
    call = claims.call(claims.new(channel.consumer.need_lease(), [QUEUE], 2))
    scripts.CLAIM.run(harness.redis, *call)
    with pytest.raises(ResponseError, match="in use"):
        scripts.CLAIM.run(harness.redis, *call)
    assert (sorted(harness.leased()), harness.ready()) == ([0, 1], [2, 3])
    channel.close()
    assert harness.ready() == [0, 1, 2, 3]


def test_the_same_connection_consumes_again_after_trouble(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    first = reader.next()
    reader.connection.collect()
    harness.publish("b")
    again = harness.reader()
    assert again.next().payload == "b"
    first.ack()
    wait_for(lambda: harness.leased() == ["b"], 3, "not acknowledged")


def test_a_server_that_dies_and_comes_back_gives_nothing_out_twice(harness: Harness) -> None:
    for number in range(2):
        harness.publish(number)
    reader, other = harness.reader(prefetch=1), harness.reader(prefetch=1)
    mine, theirs = reader.next(), other.next()
    harness.redis.execute_command(
        "WAITAOF", 1, 0, 1000
    ) if harness.server.program == "valkey" else time.sleep(1.1)
    harness.server.kill()
    harness.server.start()
    wait_for(lambda: _renewed(harness, reader) and _renewed(harness, other), 5, "the leases are not kept")
    onlooker = harness.reader()
    assert onlooker.within(4) == []
    for message in (mine, theirs):
        message.ack()
    wait_for(lambda: not harness.leased(), 3, "not acknowledged")


def test_acknowledgements_survive_an_outage(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    message = reader.next()
    harness.server.freeze()
    try:
        message.ack()
    finally:
        harness.server.thaw()
    wait_for(lambda: not harness.leased(), 8, "the acknowledgement was forgotten")


def test_a_forked_child_leaves_the_lease_alone(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader(**SHORT)
    message = reader.next()
    sockets = len(harness.redis.client_list())
    pid = os.fork()
    if pid == 0:
        try:
            del message
            reader.got.clear()
            gc.collect()
            reader.channel.close()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert harness.leased() == ["a"]
    assert len(harness.redis.client_list()) == sockets
    message.ack()
    wait_for(lambda: not harness.leased(), 1, "the parent's lease is broken")


def test_children_of_a_fork_publish_over_connections_of_their_own(harness: Harness) -> None:
    """Like a web server that loads the app before it forks."""
    rounds = 200
    producer = harness.producer()
    producer.publish("warm", exchange="", routing_key="warm")
    harness.redis.hset("refused", "no", "list")
    reading, writing = os.pipe()
    children = []
    for queue in (QUEUE, "refused"):
        if not (pid := os.fork()):
            signal.alarm(20)
            told = 0
            for number in range(rounds):
                with suppress(ResponseError):
                    producer.publish(number, exchange="", routing_key=queue)
                    told += 1
            os.write(writing, f"{queue} {told}\n".encode())
            os._exit(0)
        children.append(pid)
    ends = [os.waitpid(pid, 0)[1] for pid in children]
    assert ends == [0, 0], "a child waited for a reply that its sibling had read"
    assert sorted(os.read(reading, 100).decode().splitlines()) == [f"{QUEUE} {rounds}", "refused 0"]
    assert len(harness.ready()) == rounds


# replies that never came


def test_a_replacement_whose_answer_was_lost_is_repeated_and_written_once(
    harness: Harness, lost: Any
) -> None:
    harness.publish("a")
    reader = harness.reader()
    message = reader.next()
    client = reader.lease.client
    execute = client.execute_command

    def cut_off(*command: Any) -> None:
        execute(*command)
        raise RedisTimeoutError("the answer was lost")

    client.execute_command = cut_off
    with pytest.raises(RedisTimeoutError):
        reader.replace(message, "retry")
    client.execute_command = execute
    assert reader.replace(message, "retry"), "taken for a lease that was lost"
    assert lost() == 0
    assert bodies(reader.take(1)) == ["retry"]
    assert reader.within(0.5) == []


def test_the_reply_to_an_interrupted_publish_is_not_read_by_the_next(harness: Harness) -> None:
    """By a soft time limit, for example, while it waits for the answer."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    harness.redis.hset("refused", "no", "list")
    harness.publish("warm")
    before = signal.signal(signal.SIGALRM, interrupt)
    harness.server.freeze()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Interrupted):
            harness.publish("interrupted")
    finally:
        signal.signal(signal.SIGALRM, before)
        harness.server.thaw()
    with pytest.raises(ResponseError):
        harness.publish("refused", queue="refused")


def test_no_acknowledged_job_returns_however_many_wait_to_be_sent(harness: Harness) -> None:
    number = 2500
    for n in range(number):
        harness.publish(n)
    reader = harness.reader(prefetch=number + 10)
    messages = reader.take(number)
    harness.redis.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    for message in messages[1:]:
        message.ack()
    assert len(reader.lease.acks.unconfirmed()) > 2000
    reader.connection.collect()  # as Celery does
    wait_for(lambda: harness.leased() == [messages[0].payload], 8, "not acknowledged")
    assert harness.ready() == []


def test_a_renewal_counts_from_when_it_was_sent(harness: Harness) -> None:
    """Not from its answer, which a frozen process reads late."""
    lease = harness.reader(lease_seconds=6, lease_renew_seconds=0.5).channel.consumer.need_lease()
    pulse, before = lease.pulse, []

    def slow(*args: Any, **options: Any) -> Any:
        done = pulse(*args, **options)
        time.sleep(1)
        before.append(lease.renewer._renewed)
        return done

    lease.pulse = slow
    wait_for(lambda: before and lease.renewer._renewed != before[0], 8, "not renewed")
    assert _now() - lease.renewer._renewed > 0.9


def test_a_process_knows_of_the_outage_before_it_connects_again(harness: Harness) -> None:
    """Its renewer's thread may notice the outage later than the consumer that lost its connection."""
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    reader = harness.reader()
    assert reclaim.patience(harness.redis) == 0
    reader.connection.collect()  # as Celery does after it lost the connection
    assert reclaim.patience(harness.redis) > 0


def test_consumers_cut_off_together_have_time_to_come_back(harness: Harness) -> None:
    """A restarting proxy cuts all connections; the first consumer that returns takes nothing from the others."""
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    harness.publish("first")
    with child(harness) as worker:
        quick = harness.reader()
        assert quick.within(1) == []
        worker.send(signal.SIGSTOP)
        harness.redis.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(quick.connection.connection_errors):
            quick.within(3)
        quick.connection.collect()  # as Celery does
        again = harness.reader()
        assert again.within(4) == []
        worker.send(signal.SIGCONT)
        assert again.within(5) == [], "given to another, although its worker lives"
        assert harness.leased() == ["first"]


def test_an_added_queue_is_served_although_another_consumer_gets_its_doorbell(harness: Harness) -> None:
    waits_longest, grows = harness.reader("old"), harness.reader("old")
    for reader in (waits_longest, grows):
        assert reader.within(0.5) == []
    grows.consumer.add_queue(Queue("new", routing_key="new"))
    grows.consumer.consume()
    harness.publish("first", queue="new")
    assert bodies(grows.within(2)) == ["first"]


def test_after_a_frozen_server_those_that_are_slow_to_come_back_have_time(harness: Harness) -> None:
    """The first consumer that returns takes nothing from the others."""
    wait_for(
        lambda: harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    harness.publish("first")
    with child(harness) as worker:
        quick = harness.reader(socket_timeout=1)
        assert quick.within(1) == []
        worker.send(signal.SIGSTOP)
        (its,) = {int(cid) for cid in harness.redis.hvals("nightshift:clients")} - {
            int(quick.lease._client_id)
        }
        harness.redis.client_kill_filter(_id=its)
        harness.server.freeze()
        wait_for(lambda: quick.lease.renewer._in_trouble, 10, "not noticed")
        time.sleep(2.5)  # as an outage lasts: a look at the others is overdue
        harness.server.thaw()
        assert quick.within(4) == []
        worker.send(signal.SIGCONT)
        assert quick.within(4) == [], "given to another, although its worker lives"
        assert harness.leased() == ["first"]


@pytest.mark.parametrize("refused", ["-client|id", "-client", "-@dangerous"])
def test_a_server_with_few_permissions_is_enough(harness: Harness, refused: str) -> None:
    harness.redis.acl_setuser(
        "small", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", refused]
    )
    harness.publish("a")
    harness.url = harness.url.replace(f":{harness.server.password}@", "small:any@")
    reader = harness.reader()
    reader.next().ack()
    wait_for(lambda: not harness.leased(), 3, "not acknowledged")


def test_a_full_server_does_not_stop_waiting_workers(harness: Harness) -> None:
    reader = harness.reader(unacked_restore_interval=1)
    harness.publish("a")
    reader.next()
    harness.redis.set("ballast", b"x" * 3_000_000)
    before = {name: harness.redis.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy")}
    harness.redis.config_set("maxmemory-policy", "noeviction")
    harness.redis.config_set("maxmemory", 2_000_000)
    try:
        assert reader.within(4) == []
    finally:
        for name, value in before.items():
            harness.redis.config_set(name, value)
    harness.publish("b")
    assert reader.next().payload == "b"


# the end


def test_a_process_that_just_ends_returns_its_messages_at_once(harness: Harness) -> None:
    harness.publish("a")
    with child(harness) as worker:
        worker.send(signal.SIGINT)  # an exception in the main thread: no close() is called
        worker.process.wait(10)
        assert harness.ready() == ["a"]
        assert b"x-delivery-count" not in harness.redis.lindex(QUEUE, 0)
    assert harness.keys() == {QUEUE.encode()}


def test_a_cancelled_consumer_returns_what_it_had_not_delivered(harness: Harness) -> None:
    reader = harness.reader("a", "b", prefetch=4)

    def cancel_and_keep(message: Any) -> None:
        reader.consumer.cancel_by_queue("b")
        reader.got.append(message)

    reader.consumer.on_message = cancel_and_keep
    for queue in "abab":
        harness.publish(queue, queue=queue)
    got = bodies(reader.within(0.5))
    assert "b" not in got[1:]
    assert harness.redis.llen("b") == 2 - got.count("b")


# side by side with kombu's own transport


def test_old_and_new_workers_share_queues(harness: Harness) -> None:
    for number in range(20):
        harness.publish(number, stock=number % 2 == 0)
    old, new = harness.reader(prefetch=2, transport=None), harness.reader(prefetch=2)
    seen: list[int] = []
    while len(seen) < 20:
        for reader in (old, new):
            for message in reader.within(0.05):
                seen.append(message.payload)
                message.ack()
    assert sorted(seen) == list(range(20))


def test_an_old_worker_can_run_what_a_new_one_returned(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    reader.next().reject(requeue=True)
    reader.close()
    assert harness.reader(transport=None).next().payload == "a"


def test_the_delivery_count_survives_an_old_worker(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    reader.next().reject(requeue=True)
    reader.close()
    old = harness.reader(transport=None)
    old.next().reject(requeue=True)
    old.close()
    assert harness.reader().next().headers["x-delivery-count"] == 1


def test_messages_an_old_worker_left_unacknowledged_are_restored(harness: Harness) -> None:
    harness.publish("a")
    raw = json.loads(harness.redis.rpop(QUEUE))
    tag = raw["properties"]["delivery_tag"]
    harness.redis.hset("unacked", tag, json.dumps([raw, "", QUEUE]))
    harness.redis.zadd("unacked_index", {tag: time.time() - 100})
    assert harness.reader(visibility_timeout=50).next(timeout=5).payload == "a"
    assert not harness.redis.exists("unacked")


def test_a_delayed_message_is_promoted_for_old_workers_by_new_ones(harness: Harness) -> None:
    harness.publish("later", headers=eta(0.3))
    new = harness.reader("another queue", QUEUE, prefetch=1)
    message = new.next()
    assert message.payload == "later"


def _holding(stack: ExitStack, harness: Harness, body: str, **options: Any) -> Any:
    """A consumer in a process of its own, which holds ``body``."""
    harness.publish(body)
    return stack.enter_context(child(harness, **options))


def _take_over(harness: Harness, reader: Any) -> None:
    """As if ``reader`` had been frozen for longer than its lease."""
    from flask_nightshift.brokers.redis.transport.keys import KeySpace

    harness.redis.zadd(KeySpace().consumers, {reader.lease.id: 1})
    assert look_for_dead(harness) == [], "seen for the first time"
    assert look_for_dead(harness) == [reader.lease.id]


def _renewed(harness: Harness, reader: Any) -> bool:
    client = harness.redis.hget("nightshift:clients", reader.lease.id).decode()
    return client in {entry["id"] for entry in harness.redis.client_list()}
