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

from flask_nightshift.brokers.redis.transport.lease import LeaseLost
from flask_nightshift.brokers.redis.transport.reclaim import AFTER_OUTAGE
from flask_nightshift.brokers.redis.transport.renewal import _now
from flask_nightshift.text.lines import LOGGER
from servers import wait_for
from transport_support import BOOKS, QUEUE, Site, bodies, child, eta

SHORT: dict[str, Any] = {"lease_seconds": 1.5, "lease_renew_seconds": 0.3}


@pytest.fixture(params=["valkey", "redis_server"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(request.getfixturevalue(request.param))
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


def test_the_jobs_of_a_killed_process_run_again_within_five_seconds(site: Site) -> None:
    wait_for(lambda: site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young")
    site.publish("first")
    with child(site) as worker:
        assert worker.holds == "first"
        reader = site.reader()
        assert reader.within(0.5) == []
        killed = time.monotonic()
        worker.send(signal.SIGKILL)
        message = reader.next(timeout=10)
        assert time.monotonic() - killed < 5
    assert (message.payload, message.headers["x-delivery-count"]) == ("first", 1)
    message.ack()
    wait_for(lambda: site.keys() == BOOKS, 3, "the dead consumer left something")


def test_a_new_worker_alone_finds_what_a_killed_one_left(site: Site) -> None:
    wait_for(lambda: site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young")
    site.publish("first")
    with child(site) as worker:
        worker.send(signal.SIGKILL)
    started = time.monotonic()
    assert site.reader().next(timeout=10).payload == "first"
    assert time.monotonic() - started < 10


def test_the_deadline_decides_where_clients_may_not_be_listed(site: Site) -> None:
    site.redis.acl_setuser(
        "worker", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", "-client|list"]
    )
    site.publish("first")
    site.url = site.url.replace(f":{site.server.password}@", "worker:any@")
    options: dict[str, Any] = {"lease_seconds": 3, "lease_renew_seconds": 0.5}
    with child(site, **options) as worker:
        reader = site.reader(**options)
        worker.send(signal.SIGKILL)
        killed = time.monotonic()
        assert reader.next(timeout=10).payload == "first"
        assert 2 < time.monotonic() - killed < 6


def test_a_job_that_kills_its_worker_every_time_is_buried(site: Site) -> None:
    wait_for(lambda: site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young")
    site.publish("deadly", headers={"id": "j"})
    for _ in range(2):
        with child(site, delivery_limit=2) as worker:
            assert worker.holds == "deadly"
            worker.send(signal.SIGKILL)
    reader = site.reader(delivery_limit=2)
    wait_for(lambda: reader.within(0.1) or site.dead(), 20, "it was not buried")
    (letter,) = site.dead()
    assert letter["headers"]["nightshift_dead"]["reason"] == "delivery_limit"


def test_a_frozen_consumer_is_fenced(site: Site) -> None:
    for number in range(4):
        site.publish(number)
    with child(site, **SHORT) as worker:
        reader = site.reader(**SHORT)
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
    assert sorted(site.leased()) == [0, 1, 2, 3], "its late acknowledgement changed something"


def test_a_consumer_that_was_taken_over_changes_nothing_and_begins_anew(site: Site, lost: Any) -> None:
    for number in range(3):
        site.publish(number)
    reader = site.reader(prefetch=3)
    one, two, three = reader.take(3)
    _take_over(site, reader)
    one.ack()
    assert not reader.replace(two, "replaced", queue="other")
    three.reject(requeue=True)
    wait_for(lambda: reader.lease.lost, 5, "it does not notice")
    wait_for(lambda: lost() >= 3, 5, "it does not say so")
    assert (site.ready(), site.ready("other"), site.leased()) == ([0, 1, 2], [], [])
    with pytest.raises(LeaseLost):
        reader.within(1)
    again = reader.take(3)
    assert [message.headers["x-delivery-count"] for message in again] == [1, 1, 1]
    for message in again:
        message.ack()
    wait_for(lambda: site.keys() == BOOKS, 3, "it does not work after that")


def test_what_a_taken_over_consumer_had_not_delivered_is_not_delivered(site: Site) -> None:
    for number in range(3):
        site.publish(number)
    reader = site.reader(prefetch=1)
    reader.next()
    _take_over(site, reader)
    wait_for(lambda: reader.lease.lost, 5, "it does not notice")
    with pytest.raises(reader.connection.connection_errors):
        reader.next(1)
    assert not reader.got


def test_flushall_is_survived(site: Site) -> None:
    site.publish("a")
    reader = site.reader()
    reader.next()
    site.redis.flushall()
    with pytest.raises(LeaseLost):
        reader.within(5)
    site.publish("b")
    assert reader.next().payload == "b"


# a consumer that lives


def test_a_busy_consumer_keeps_its_lease(site: Site) -> None:
    site.publish("a")
    busy, other = site.reader(**SHORT), site.reader(**SHORT)
    message = busy.next()
    assert other.within(3 * SHORT["lease_seconds"]) == []  # meanwhile ``busy`` does not poll at all
    message.ack()
    wait_for(lambda: not site.leased(), 1, "the acknowledgement was refused")


def test_a_keeper_whose_connection_is_cut_is_back_before_anyone_takes_over(site: Site) -> None:
    site.publish("a")
    reader, other = site.reader(), site.reader()
    reader.next()
    for _ in range(3):
        before = site.redis.hget("nightshift:clients", reader.lease.id)
        site.redis.client_kill_filter(_id=before)
        wait_for(
            lambda before=before: site.redis.hget("nightshift:clients", reader.lease.id) != before,
            1,
            "not back",
        )
    assert other.within(3) == []
    assert site.leased() == ["a"]
    assert site.redis.zcard("nightshift:suspects") == 0


def test_a_machine_that_slept_longer_than_the_leases_gives_nothing_out_twice(site: Site) -> None:
    """Whoever wakes first finds every deadline passed, its own and those of who is still asleep."""
    wait_for(lambda: site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young")
    options: dict[str, Any] = {"lease_seconds": 6, "lease_renew_seconds": 1.5}
    with ExitStack() as stack:
        worker, early = (_holding(stack, site, body, **options) for body in ("first", "second"))
        worker.send(signal.SIGSTOP)
        early.send(signal.SIGSTOP)
        site.server.freeze()
        time.sleep(7)
        site.server.thaw()
        early.send(signal.SIGCONT)
        new = site.reader(**options)
        assert new.within(1.4) == []
        assert site.redis.zcard("nightshift:late") >= 1
        worker.send(signal.SIGCONT)
        assert new.within(6) == [], "given to another, although its worker lives"
        assert sorted(site.leased()) == ["first", "second"]


def test_after_a_broken_connection_what_is_in_use_stays_and_the_rest_returns(site: Site) -> None:
    for number in range(4):
        site.publish(number)
    reader = site.reader(prefetch=5)
    running, retried, *waiting = reader.take(4)
    site.redis.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(reader.connection.connection_errors):
        reader.within(3)
    reader.connection.collect()  # as Celery does
    del waiting
    gc.collect()
    wait_for(lambda: site.ready() == [2, 3], 3, "what nobody holds did not return")
    assert sorted(site.leased()) == [0, 1]
    other = site.reader()
    assert sorted(bodies(other.take(2))) == [2, 3]
    assert other.within(3) == [], "a running job was given to another"
    running.ack()
    assert reader.replace(retried, "retry", due=time.time() + 60)
    wait_for(lambda: sorted(site.leased()) == [2, 3], 3, "late settlements did not arrive")
    wait_for(lambda: site.redis.zcard("nightshift:consumers") == 1, 3, "the old lease did not end")


def test_a_claim_without_an_answer_strands_nothing(site: Site) -> None:
    site.publish("held")
    reader = site.reader(prefetch=5)
    held = reader.next()
    before = reader.lease
    site.publish("claimed unseen")
    site.server.freeze()
    try:
        reader.channel._leave_poll()
        reader.channel._send_claim(reader.channel._new_claim([QUEUE], 3))
        reader.channel.client.connection.disconnect()  # as kombu's health check does
    finally:
        site.server.thaw()
    assert reader.next().payload == "claimed unseen"
    assert reader.lease is not before
    held.ack()
    wait_for(lambda: site.leased() == ["claimed unseen"], 3, "not acknowledged")


def test_a_claim_sent_twice_overwrites_nothing(site: Site) -> None:
    from flask_nightshift.brokers.redis.transport import scripts

    for number in range(4):
        site.publish(number)
    channel = site.connect().channel()
    claim = channel._new_claim([QUEUE], 2)
    scripts.CLAIM.run(site.redis, *channel._call(claim))
    with pytest.raises(ResponseError, match="in use"):
        scripts.CLAIM.run(site.redis, *channel._call(claim))
    assert (sorted(site.leased()), site.ready()) == ([0, 1], [2, 3])
    channel.close()
    assert site.ready() == [0, 1, 2, 3]


def test_the_same_connection_consumes_again_after_trouble(site: Site) -> None:
    site.publish("a")
    reader = site.reader()
    first = reader.next()
    reader.connection.collect()
    site.publish("b")
    again = site.reader()
    assert again.next().payload == "b"
    first.ack()
    wait_for(lambda: site.leased() == ["b"], 3, "not acknowledged")


def test_a_server_that_dies_and_comes_back_gives_nothing_out_twice(site: Site) -> None:
    for number in range(2):
        site.publish(number)
    reader, other = site.reader(prefetch=1), site.reader(prefetch=1)
    mine, theirs = reader.next(), other.next()
    site.redis.execute_command("WAITAOF", 1, 0, 1000) if site.server.program == "valkey" else time.sleep(1.1)
    site.server.kill()
    site.server.start()
    wait_for(lambda: _renewed(site, reader) and _renewed(site, other), 5, "the leases are not kept")
    onlooker = site.reader()
    assert onlooker.within(4) == []
    for message in (mine, theirs):
        message.ack()
    wait_for(lambda: not site.leased(), 3, "not acknowledged")


def test_acknowledgements_survive_an_outage(site: Site) -> None:
    site.publish("a")
    reader = site.reader()
    message = reader.next()
    site.server.freeze()
    try:
        message.ack()
    finally:
        site.server.thaw()
    wait_for(lambda: not site.leased(), 8, "the acknowledgement was forgotten")


def test_a_forked_child_leaves_the_lease_alone(site: Site) -> None:
    site.publish("a")
    reader = site.reader(**SHORT)
    message = reader.next()
    sockets = len(site.redis.client_list())
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
    assert site.leased() == ["a"]
    assert len(site.redis.client_list()) == sockets
    message.ack()
    wait_for(lambda: not site.leased(), 1, "the parent's lease is broken")


def test_children_of_a_fork_publish_over_connections_of_their_own(site: Site) -> None:
    """As a web server does it that loads the app before it forks."""
    rounds = 200
    producer = site.producer()
    producer.publish("warm", exchange="", routing_key="warm")
    site.redis.hset("refused", "no", "list")
    reading, writing = os.pipe()
    for queue in (QUEUE, "refused"):
        if os.fork() == 0:
            signal.alarm(20)
            told = 0
            for number in range(rounds):
                with suppress(ResponseError):
                    producer.publish(number, exchange="", routing_key=queue)
                    told += 1
            os.write(writing, f"{queue} {told}\n".encode())
            os._exit(0)
    ends = [os.wait()[1] for _ in range(2)]
    assert ends == [0, 0], "a child waited for a reply that its sibling had read"
    assert sorted(os.read(reading, 100).decode().splitlines()) == [f"{QUEUE} {rounds}", "refused 0"]
    assert len(site.ready()) == rounds


# replies that never came


def test_a_replacement_whose_answer_was_lost_is_repeated_and_written_once(site: Site, lost: Any) -> None:
    site.publish("a")
    reader = site.reader()
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


def test_a_publish_that_was_interrupted_leaves_its_reply_to_nobody(site: Site) -> None:
    """By a soft time limit, for example, while it waits for the answer."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupted

    site.redis.hset("refused", "no", "list")
    site.publish("warm")
    before = signal.signal(signal.SIGALRM, interrupt)
    site.server.freeze()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Interrupted):
            site.publish("interrupted")
    finally:
        signal.signal(signal.SIGALRM, before)
        site.server.thaw()
    with pytest.raises(ResponseError):
        site.publish("refused", queue="refused")


def test_no_acknowledged_job_returns_however_many_wait_to_be_sent(site: Site) -> None:
    number = 2500
    for n in range(number):
        site.publish(n)
    reader = site.reader(prefetch=number + 10)
    messages = reader.take(number)
    site.redis.execute_command("CLIENT", "PAUSE", 1500, "ALL")
    for message in messages[1:]:
        message.ack()
    assert len(reader.lease.acks.unconfirmed()) > 2000
    reader.connection.collect()  # as Celery does
    wait_for(lambda: site.leased() == [messages[0].payload], 8, "not acknowledged")
    assert site.ready() == []


def test_a_renewal_counts_from_when_it_was_sent(site: Site) -> None:
    """Not from its answer, which a process that was frozen reads late."""
    lease = site.reader(lease_seconds=6, lease_renew_seconds=0.5).channel.lease
    pulse, before = lease.pulse, []

    def slow(*args: Any, **options: Any) -> Any:
        done = pulse(*args, **options)
        time.sleep(1)
        before.append(lease.renewer._renewed)
        return done

    lease.pulse = slow
    wait_for(lambda: before and lease.renewer._renewed != before[0], 8, "not renewed")
    assert _now() - lease.renewer._renewed > 0.9


def test_those_that_were_cut_off_together_have_time_to_come_back(site: Site) -> None:
    """A proxy that restarts cuts everybody off; who is back first takes nothing from the rest."""
    wait_for(lambda: site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young")
    site.publish("first")
    with child(site) as worker:
        quick = site.reader()
        assert quick.within(1) == []
        worker.send(signal.SIGSTOP)
        site.redis.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(quick.connection.connection_errors):
            quick.within(3)
        quick.connection.collect()  # as Celery does
        again = site.reader()
        assert again.within(4) == []
        worker.send(signal.SIGCONT)
        assert again.within(5) == [], "given to another, although its worker lives"
        assert site.leased() == ["first"]


def test_a_queue_that_is_added_is_served_although_another_consumer_hears_the_bell(site: Site) -> None:
    waits_longest, grows = site.reader("old"), site.reader("old")
    for reader in (waits_longest, grows):
        assert reader.within(0.5) == []
    grows.consumer.add_queue(Queue("new", routing_key="new"))
    grows.consumer.consume()
    site.publish("first", queue="new")
    assert bodies(grows.within(2)) == ["first"]


def test_after_a_frozen_server_those_that_are_slow_to_come_back_have_time(site: Site) -> None:
    """Who is back first takes nothing from the rest."""
    wait_for(lambda: site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young")
    site.publish("first")
    with child(site) as worker:
        quick = site.reader(socket_timeout=1)
        assert quick.within(1) == []
        worker.send(signal.SIGSTOP)
        (its,) = {int(cid) for cid in site.redis.hvals("nightshift:clients")} - {int(quick.lease._client_id)}
        site.redis.client_kill_filter(_id=its)
        site.server.freeze()
        wait_for(lambda: quick.lease.renewer._in_trouble, 10, "not noticed")
        time.sleep(2.5)  # as an outage lasts: a look at the others is overdue
        site.server.thaw()
        assert quick.within(4) == []
        worker.send(signal.SIGCONT)
        assert quick.within(4) == [], "given to another, although its worker lives"
        assert site.leased() == ["first"]


@pytest.mark.parametrize("refused", ["-client|id", "-client", "-@dangerous"])
def test_a_server_that_allows_little_is_enough(site: Site, refused: str) -> None:
    site.redis.acl_setuser(
        "small", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all", refused]
    )
    site.publish("a")
    site.url = site.url.replace(f":{site.server.password}@", "small:any@")
    reader = site.reader()
    reader.next().ack()
    wait_for(lambda: not site.leased(), 3, "not acknowledged")


def test_a_full_server_does_not_end_who_waits_for_jobs(site: Site) -> None:
    reader = site.reader(unacked_restore_interval=1)
    site.publish("a")
    reader.next()
    site.redis.set("ballast", b"x" * 3_000_000)
    before = {name: site.redis.config_get(name)[name] for name in ("maxmemory", "maxmemory-policy")}
    site.redis.config_set("maxmemory-policy", "noeviction")
    site.redis.config_set("maxmemory", 2_000_000)
    try:
        assert reader.within(4) == []
    finally:
        for name, value in before.items():
            site.redis.config_set(name, value)
    site.publish("b")
    assert reader.next().payload == "b"


# the end


def test_a_process_that_just_ends_returns_its_messages_at_once(site: Site) -> None:
    site.publish("a")
    with child(site) as worker:
        worker.send(signal.SIGINT)  # an exception in the main thread: no close() is called
        worker.process.wait(10)
        assert site.ready() == ["a"]
        assert b"x-delivery-count" not in site.redis.lindex(QUEUE, 0)
    assert site.keys() == {QUEUE.encode()}


def test_a_cancelled_consumer_returns_what_it_had_not_delivered(site: Site) -> None:
    reader = site.reader("a", "b", prefetch=4)

    def cancel_and_keep(message: Any) -> None:
        reader.consumer.cancel_by_queue("b")
        reader.got.append(message)

    reader.consumer.on_message = cancel_and_keep
    for queue in "abab":
        site.publish(queue, queue=queue)
    got = bodies(reader.within(0.5))
    assert "b" not in got[1:]
    assert site.redis.llen("b") == 2 - got.count("b")


# side by side with kombu's own transport


def test_old_and_new_workers_share_queues(site: Site) -> None:
    for number in range(20):
        site.publish(number, stock=number % 2 == 0)
    old, new = site.reader(prefetch=2, transport=None), site.reader(prefetch=2)
    seen: list[int] = []
    while len(seen) < 20:
        for reader in (old, new):
            for message in reader.within(0.05):
                seen.append(message.payload)
                message.ack()
    assert sorted(seen) == list(range(20))


def test_an_old_worker_can_run_what_a_new_one_returned(site: Site) -> None:
    site.publish("a")
    reader = site.reader()
    reader.next().reject(requeue=True)
    reader.close()
    assert site.reader(transport=None).next().payload == "a"


def test_the_delivery_count_survives_an_old_worker(site: Site) -> None:
    site.publish("a")
    reader = site.reader()
    reader.next().reject(requeue=True)
    reader.close()
    old = site.reader(transport=None)
    old.next().reject(requeue=True)
    old.close()
    assert site.reader().next().headers["x-delivery-count"] == 1


def test_what_an_old_worker_left_unacknowledged_is_restored(site: Site) -> None:
    site.publish("a")
    raw = json.loads(site.redis.rpop(QUEUE))
    tag = raw["properties"]["delivery_tag"]
    site.redis.hset("unacked", tag, json.dumps([raw, "", QUEUE]))
    site.redis.zadd("unacked_index", {tag: time.time() - 100})
    assert site.reader(visibility_timeout=50).next(timeout=5).payload == "a"
    assert not site.redis.exists("unacked")


def test_a_delayed_message_is_promoted_for_old_workers_by_new_ones(site: Site) -> None:
    site.publish("later", headers=eta(0.3))
    new = site.reader("another queue", QUEUE, prefetch=1)
    message = new.next()
    assert message.payload == "later"


def _holding(stack: ExitStack, site: Site, body: str, **options: Any) -> Any:
    """A consumer in a process of its own, which holds ``body``."""
    site.publish(body)
    return stack.enter_context(child(site, **options))


def _take_over(site: Site, reader: Any) -> None:
    """As if ``reader`` had been frozen for longer than its lease."""
    from flask_nightshift.brokers.redis.transport import keys, scripts

    site.redis.zadd(keys.consumers(""), {reader.lease.id: 1})
    names = [name("") for name in (keys.consumers, keys.clients, keys.suspects, keys.late, keys.leased)]
    args = [keys.lease("", ""), "", keys.SEPARATOR, keys.bell("", ""), 20, 2, 0, 0, keys.started("", "")]
    assert scripts.RECLAIM.run(site.redis, names, args) == [], "seen for the first time"
    reclaimed = scripts.RECLAIM.run(site.redis, names, args)
    assert reclaimed[0].decode() == reader.lease.id


def _renewed(site: Site, reader: Any) -> bool:
    client = site.redis.hget("nightshift:clients", reader.lease.id).decode()
    return client in {entry["id"] for entry in site.redis.client_list()}
