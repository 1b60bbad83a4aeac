"""The lease transport and its messages, seen by producers, by consumers and in the server."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Consumer, Exchange, Producer, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import ResponseError

from flask_nightshift.brokers.redis.transport import queues
from flask_nightshift.brokers.redis.transport.channel import AccessRefused
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from servers import wait_for
from transport_support import BOOKS, QUEUE, Harness, bodies, body_of, eta

LIMIT: dict[str, Any] = {"delivery_limit": 2}


@pytest.fixture(params=["valkey", "redis_server"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    made = Harness(request.getfixturevalue(request.param))
    yield made
    made.close()


# claim and acknowledge


def test_a_message_is_leased_until_it_is_acknowledged(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    message = reader.next()
    assert message.payload == "a"
    assert (harness.ready(), harness.leased()) == ([], ["a"])
    assert queues.leased_count(harness.redis, KeySpace(), QUEUE) == 1
    message.ack()
    wait_for(lambda: not harness.leased(), 1, "the acknowledgement did not arrive")
    assert harness.keys() == BOOKS


def test_messages_arrive_in_the_order_of_publishing(harness: Harness) -> None:
    for number in range(20):
        harness.publish(number)
    assert bodies(harness.reader().take(10)) == list(range(10))


@pytest.mark.parametrize("prefetch", [1, 2, 3, 8])
def test_the_prefetch_is_used_and_not_exceeded(harness: Harness, prefetch: int) -> None:
    for number in range(20):
        harness.publish(number)
    reader = harness.reader(prefetch=prefetch)
    held = reader.take(prefetch)
    assert reader.within(0.2) == []
    held.pop(0).ack()
    assert reader.next(1).payload == prefetch  # one free place is used, even if it is less than half
    assert reader.within(0.2) == []


def test_a_claim_takes_no_more_than_some_megabytes_and_goes_on(harness: Harness) -> None:
    """The window is reckoned from messages that came before, which may have been small ones."""
    size = 2_000_000  # a third more in base64
    for number in range(12):
        harness.publish([number, "x" * size])
    reader = harness.reader(prefetch=100)
    first = reader.next(20)
    assert len(harness.ready()) in (12 - 7, 12 - 6)
    assert [each.payload[0] for each in (first, *reader.take(11))] == list(range(12))


def test_without_a_prefetch_limit_one_at_a_time_is_taken(harness: Harness) -> None:
    for number in range(3):
        harness.publish(number)
    one, other = harness.reader(prefetch=0), harness.reader(prefetch=0)
    assert (one.next().payload, other.next().payload) == (0, 1)


def test_acknowledgements_are_not_kept_back_while_the_prefetch_is_full(harness: Harness) -> None:
    for number in range(12):
        harness.publish(number)
    reader = harness.reader(prefetch=10)
    held = reader.take(10)
    started = time.monotonic()
    held[3].ack()
    wait_for(lambda: 3 not in harness.leased(), 1, "the acknowledgement was kept back")
    assert time.monotonic() - started < 0.3


def test_an_acknowledgement_from_another_thread_makes_room_at_once(harness: Harness) -> None:
    harness.publish("a")
    harness.publish("b")
    reader = harness.reader(prefetch=1)
    message = reader.next()
    threading.Timer(0.2, message.ack).start()
    started = time.monotonic()
    assert reader.next(timeout=5).payload == "b"
    assert time.monotonic() - started < 0.8


def test_acknowledgements_travel_with_claims(harness: Harness) -> None:
    for number in range(100):
        harness.publish(number)
    reader = harness.reader(prefetch=20)
    before = _calls(harness)
    for _ in range(100):
        reader.next().ack()
    wait_for(lambda: not harness.leased(), 1, "not acknowledged")
    assert _calls(harness) - before < 40  # stock: three round trips per message


def test_closing_sends_the_last_acknowledgements(harness: Harness) -> None:
    for number in range(5):
        harness.publish(number)
    reader = harness.reader()
    for message in reader.take(5):
        message.ack()
    reader.close()
    assert harness.keys() == set()


def test_closing_returns_the_rest_at_once_uncounted_and_in_order(harness: Harness) -> None:
    for number in range(6):
        harness.publish(number)
    reader = harness.reader(prefetch=4)
    held = reader.take(4)
    held[1].ack()
    reader.close()
    assert harness.ready() == [0, 2, 3, 4, 5]
    again = harness.reader().next()
    assert "x-delivery-count" not in again.headers
    assert not again.delivery_info.get("redelivered")


def test_after_jobs_nothing_is_left(harness: Harness) -> None:
    for number in range(500):
        harness.publish(number, queue=f"q{number % 3}", headers=eta(0.2) if number % 10 == 0 else None)
    reader = harness.reader("q0", "q1", "q2", prefetch=50)
    for _ in range(500):
        reader.next().ack()
    reader.close()
    harness.nothing_left()


def test_a_message_costs_at_most_200_bytes_more_in_any_state(harness: Harness) -> None:
    number = 400

    def used() -> int:
        return sum(harness.redis.memory_usage(key, samples=0) for key in sorted(harness.keys()))

    reader = harness.reader(prefetch=number)
    reader.within(0.05)
    empty = used()
    for _ in range(number):
        harness.redis.lpush("sample", b"x" * 1000)
    raw = (used() - empty) / number
    harness.redis.delete("sample")
    producer = Producer(harness.connect().channel())
    for n in range(number):
        producer.publish("x" * 400 + str(n), exchange="", routing_key=QUEUE)
    size = len(harness.redis.lindex(QUEUE, 0))
    assert (used() - empty) / number - size < raw - 1000 + 200, "ready"
    reader.take(number)
    leased = (used() - empty) / number
    assert leased - size < 200, "leased"
    reader.close()
    harness.redis.delete(QUEUE)
    for n in range(number):
        producer.publish("x" * 400 + str(n), exchange="", routing_key=QUEUE, headers=eta(1000))
    key = f"nightshift:delayed:{QUEUE}"
    size = len(harness.redis.zrange(key, 0, 0)[0])
    assert harness.redis.memory_usage(key, samples=0) / number - size < 200, "delayed"


# several queues, priorities


def test_queues_take_turns(harness: Harness) -> None:
    for number in range(4):
        harness.publish(f"a{number}", queue="a")
    harness.publish("b0", queue="b")
    assert bodies(harness.reader("a", "b").take(3)).index("b0") < 2


def test_queue_order_strategy_priority_empties_the_first_queue_first(harness: Harness) -> None:
    for name in "bbaa":
        harness.publish(name, queue=name)
    assert bodies(harness.reader("a", "b", queue_order_strategy="priority").take(4)) == ["a", "a", "b", "b"]


def test_urgent_messages_come_first(harness: Harness) -> None:
    for priority in (9, 3, 0, 6):
        harness.publish(priority, priority=priority)
    assert bodies(harness.reader().take(4)) == [0, 3, 6, 9]


def test_a_delayed_message_keeps_its_priority(harness: Harness) -> None:
    harness.publish("low", priority=9, headers=eta(1))
    due = queues.delayed_list(harness.redis, KeySpace(), QUEUE, 1)[0][1]
    wait_for(lambda: _server_time(harness) > due, 3, "it is not due")
    harness.publish("high", priority=3)
    assert bodies(harness.reader().take(2)) == ["high", "low"]


# waiting


def test_a_publish_wakes_a_waiting_consumer_at_once(harness: Harness) -> None:
    reader = harness.reader()
    reader.within(0.1)
    threading.Timer(0.3, harness.publish, ("a",)).start()
    site_started = time.monotonic()
    reader.next()
    assert 0.25 < time.monotonic() - site_started < 0.7


def test_several_waiting_consumers_share_a_burst(harness: Harness) -> None:
    readers = [harness.reader(prefetch=1) for _ in range(3)]
    got: list[Any] = []
    threads = [threading.Thread(target=lambda r=r: got.append(r.next(timeout=3).payload)) for r in readers]
    for thread in threads:
        thread.start()
    wait_for(lambda: int(harness.redis.info("clients")["blocked_clients"]) == 3, 3, "they do not wait")
    connection = harness.connect()
    producer = Producer(connection.channel())
    started = time.monotonic()
    for number in range(3):
        producer.publish(number, exchange="", routing_key=QUEUE)
    for thread in threads:
        thread.join()
    assert sorted(got) == [0, 1, 2]
    assert time.monotonic() - started < 0.5


def test_a_producer_without_nightshift_is_served_within_a_second(harness: Harness) -> None:
    reader = harness.reader()
    reader.within(0.1)
    harness.publish("plain", stock=True)
    started = time.monotonic()
    assert reader.next().payload == "plain"
    assert time.monotonic() - started < 1.3


def test_an_idle_consumer_does_not_spin(harness: Harness) -> None:
    reader = harness.reader()
    reader.within(0.2)
    before = _commands(harness)
    reader.within(2.0)
    assert _commands(harness) - before < 60  # what the scripts call counts too


# delayed


def test_a_delayed_message_comes_when_it_is_due_and_not_before(harness: Harness) -> None:
    reader = harness.reader()
    harness.publish("later", headers=eta(0.6))
    due = queues.delayed_list(harness.redis, KeySpace(), QUEUE, 1)[0][1]
    assert (harness.ready(), queues.delayed_count(harness.redis, KeySpace(), QUEUE)) == ([], 1)
    message = reader.next()
    late = _server_time(harness) - due
    assert 0 <= late < 0.25
    assert message.headers["eta"] is None  # served; Celery is to start no timer
    assert message.delivery_info["eta"]


def test_a_sooner_message_is_not_held_up_by_a_later_one(harness: Harness) -> None:
    reader = harness.reader()
    harness.publish("last", headers=eta(60))
    reader.within(0.2)
    harness.publish("first", headers=eta(0.3))
    assert reader.next(2).payload == "first"


def test_an_eta_in_the_past_is_no_delay(harness: Harness) -> None:
    harness.publish("now", headers=eta(-10))
    assert harness.ready() == ["now"]


def test_the_delay_of_a_plain_producer_waits_in_the_broker_too(harness: Harness) -> None:
    harness.publish("later", stock=True, headers=eta(1.0))
    reader = harness.reader()
    assert reader.within(0.3) == []
    assert queues.delayed_count(harness.redis, KeySpace(), QUEUE) == 1
    assert harness.leased() == []
    assert reader.next().payload == "later"


def test_many_due_at_once_neither_block_nor_starve(harness: Harness) -> None:
    count = 20_000
    harness.publish("model")
    raw = harness.redis.rpop(QUEUE).replace(b'"headers":{', b'"headers":{"n":%d')
    with harness.redis.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.zadd(f"nightshift:delayed:{QUEUE}", {b"0|" + raw.replace(b"%d", b"%d" % number): 1})
        pipe.execute()
    harness.publish("ready")
    reader = harness.reader(prefetch=1)
    harness.redis.config_resetstat()
    started = time.monotonic()
    assert reader.next().payload == "ready"
    assert time.monotonic() - started < 0.5
    assert count - queues.delayed_count(harness.redis, KeySpace(), QUEUE) <= 200
    assert harness.redis.info("commandstats")["cmdstat_evalsha"]["usec_per_call"] < 50_000


# settle otherwise


def test_reject_with_requeue_puts_it_to_the_head_and_counts(harness: Harness) -> None:
    harness.publish("a")
    harness.publish("b")
    reader = harness.reader(prefetch=1)
    reader.next().reject(requeue=True)
    again = reader.next()
    assert again.payload == "a"
    assert again.headers["x-delivery-count"] == 1
    assert again.delivery_info["redelivered"] is True
    again.reject(requeue=True)
    assert reader.next().headers["x-delivery-count"] == 2


def test_reject_without_requeue_removes_it(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    reader.next().reject(requeue=False)
    wait_for(lambda: not harness.leased(), 1, "it was not removed")
    assert harness.keys() == BOOKS


def test_replace_writes_the_next_state_and_releases_the_message(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader(prefetch=1)
    assert reader.replace(reader.next(), "b", queue="other")
    assert (harness.ready("other"), harness.ready(), harness.leased()) == (["b"], [], [])
    assert queues.leased_count(harness.redis, KeySpace(), QUEUE) == 0


def test_replace_with_a_due_time_delays(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader(prefetch=1)
    due = time.time() + 0.5
    assert reader.replace(reader.next(), "b", due=due)
    assert harness.leased() == []
    [later] = queues.delayed_list(harness.redis, KeySpace(), QUEUE, 5)
    assert later[0] == "next"
    assert later[1] == pytest.approx(due)
    assert reader.next().payload == "b"
    assert time.time() >= due - 0.05


def test_replace_that_fails_leaves_the_message_leased_and_can_be_repeated(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader(prefetch=1)
    message = reader.next()
    harness.redis.set("other", "not a list")
    with pytest.raises(ResponseError):
        reader.replace(message, "b", queue="other")
    assert harness.leased() == ["a"]
    harness.redis.delete("other")
    assert reader.replace(message, "b", queue="other")
    assert (harness.ready("other"), harness.leased()) == (["b"], [])


def test_replace_of_what_is_settled_already_writes_nothing(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    message = reader.next()
    assert reader.replace(message, "b", queue="other")
    assert not reader.replace(message, "c", queue="other")
    assert harness.ready("other") == ["b"]


def test_replace_follows_bindings(harness: Harness) -> None:
    queue = Queue("bound", Exchange("news", "topic"), routing_key="news.#")
    queue(harness.connect().channel()).declare()
    harness.publish("a")
    reader = harness.reader()
    Queue("bound", Exchange("news", "topic"), routing_key="news.#")(reader.channel).declare()
    message = reader.next()
    prepared = reader.channel.prepare_message('"n"', None, "application/json", "utf-8")
    assert reader.channel.basic_replace(message.delivery_tag, prepared, "news", "news.today")
    assert harness.ready("bound") == ["n"]


# burying


def test_over_the_delivery_limit_it_becomes_a_dead_letter(harness: Harness) -> None:
    harness.publish({"x": 1}, headers={"id": "j1", "task": "t"})
    reader = harness.reader(prefetch=1, **LIMIT)
    reader.next().reject(requeue=True)
    reader.next().reject(requeue=True)
    assert reader.within(0.3) == []
    (letter,) = harness.dead()
    assert body_of(json.dumps(letter).encode()) == {"x": 1}
    assert letter["headers"]["id"] == "j1"
    assert "x-delivery-count" not in letter
    header = letter["headers"]["nightshift_dead"]
    assert (header["reason"], header["queue"]) == ("delivery_limit", QUEUE)
    assert set(header) == {"id", "reason", "error", "at", "queue", "worker"}
    assert harness.keys() == BOOKS | {b"nightshift.dead"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00 not even text",
        b"plain text",
        b"[1, 2]",
        b"{}",
        b'{"body": "eA=="}',
        b'{"properties": 3}',
        b'{"properties": {"delivery_info": 3}}',
        b'{"headers": 7, "properties": {}}',
        b'{"body": "x", "properties": {"body_encoding": "rot13"}}',
        b'{"body": 5, "properties": {"body_encoding": "base64"}}',
        b'{"body": "a", "properties": {"body_encoding": "base64"}}',
        b"[" * 100_000,
    ],
)
def test_garbage_is_buried_with_its_bytes_and_stops_no_worker(harness: Harness, raw: bytes) -> None:
    harness.redis.lpush(QUEUE, raw)
    harness.publish("good")
    reader = harness.reader()
    assert reader.next().payload == "good"
    (letter,) = harness.dead()
    assert base64.b64decode(letter["body"]) == raw
    assert letter["content-type"] == "application/octet-stream"
    assert letter["properties"]["delivery_info"] == {"exchange": "", "routing_key": "nightshift.dead"}
    assert letter["headers"]["nightshift_dead"]["reason"] == "undecodable"
    assert harness.leased() == ["good"]


def test_a_dead_letter_can_be_consumed_like_any_message(harness: Harness) -> None:
    harness.redis.lpush(QUEUE, b"garbage")
    harness.reader().within(0.2)
    message = harness.reader("nightshift.dead").next()
    assert message.body == b"garbage"
    assert message.headers["nightshift_dead"]["queue"] == QUEUE


def test_a_dead_letter_with_a_future_eta_is_not_delayed_again(harness: Harness) -> None:
    harness.redis.lpush(
        "nightshift.dead",
        json.dumps(
            {
                "body": "IiI=",
                "headers": {**eta(99), "nightshift_dead": {}},
                "properties": {"body_encoding": "base64"},
            }
        ),
    )
    assert harness.reader("nightshift.dead").next().headers["nightshift_dead"] == {}


# kombu's other ways


def test_basic_get(harness: Harness) -> None:
    harness.publish("a")
    harness.publish("b", stock=True, headers=eta(50))
    channel = harness.connect().channel()
    message = channel.basic_get(QUEUE)
    assert (message.payload, harness.leased()) == ("a", ["a"])
    assert channel.basic_get(QUEUE) is None  # what is delayed is not there to get
    message.ack()
    wait_for(lambda: not harness.leased(), 1, "not acknowledged")
    harness.publish("c")
    assert channel.basic_get(QUEUE, no_ack=True).payload == "c"
    assert harness.leased() == []


def test_consuming_without_acknowledgement(harness: Harness) -> None:
    harness.publish("a")
    connection = harness.connect()
    got: list[Any] = []
    with Consumer(
        connection.channel(), [Queue(QUEUE)], no_ack=True, on_message=got.append, auto_declare=False
    ):
        connection.drain_events(timeout=3)
    assert bodies(got) == ["a"]
    assert harness.keys() == set()


def test_cancelled_consumers_get_nothing_more(harness: Harness) -> None:
    reader = harness.reader("a", "b")
    reader.within(0.1)
    reader.consumer.cancel_by_queue("a")
    harness.publish("for a", queue="a")
    harness.publish("for b", queue="b")
    assert bodies(reader.within(1.3)) == ["for b"]
    assert harness.ready("a") == ["for a"]


def test_purge_takes_what_is_ready_and_what_is_delayed(harness: Harness) -> None:
    harness.publish("a")
    harness.publish("b", priority=9)
    harness.publish("c", headers=eta(50))
    assert harness.connect().channel().queue_purge(QUEUE) == 3
    assert harness.keys() == set()


def test_deleting_a_queue_deletes_what_is_delayed(harness: Harness) -> None:
    channel = harness.connect().channel()
    queue = Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)(channel)
    queue.declare()
    harness.publish("c", headers=eta(50))
    queue.delete()
    assert harness.keys() == set()


def test_a_batch_of_publishes_wakes_a_waiting_consumer(harness: Harness) -> None:
    reader = harness.reader()
    got: list[float] = []
    thread = threading.Thread(target=lambda: got.append(reader.next() and time.monotonic()))
    thread.start()
    wait_for(lambda: int(harness.redis.info("clients")["blocked_clients"]) == 1, 3, "it does not wait")
    producer = Producer(harness.connect().channel())
    with producer.batch():
        for number in range(5):
            producer.publish(number, exchange="", routing_key=QUEUE)
        producer.publish("later", exchange="", routing_key=QUEUE, headers=eta(50))
    sent = time.monotonic()
    thread.join()
    assert got[0] - sent < 0.3
    assert queues.delayed_count(harness.redis, KeySpace(), QUEUE) == 1


def test_every_key_has_the_global_prefix(harness: Harness) -> None:
    options: dict[str, Any] = {"global_keyprefix": "shop:", **LIMIT}
    for body in ("a", "b"):
        harness.publish(body, options=options)
    harness.publish("later", options=options, headers=eta(50))
    harness.redis.lpush(f"shop:{QUEUE}", b"garbage")
    reader = harness.reader(prefetch=3, **options)
    reader.next().reject(requeue=True)
    assert reader.replace(reader.next(), "next", due=time.time() + 50)
    assert queues.delayed_count(harness.redis, KeySpace("shop:"), QUEUE) == 2
    reader.take(1)[0].ack()
    assert {key for key in harness.redis.scan_iter() if not key.startswith(b"shop:")} == set()
    reader.close()
    assert harness.connect(**options).channel().queue_purge(QUEUE) == 2


def test_scripts_the_server_forgot_are_sent_again(harness: Harness) -> None:
    reader = harness.reader(prefetch=2)
    for step in range(3):
        harness.publish(step)
        harness.redis.script_flush()
        message = reader.next()
        harness.redis.script_flush()
        assert reader.replace(message, f"next {step}")
        harness.redis.script_flush()
        reader.next().ack()
        wait_for(lambda: not harness.leased(), 1, "not acknowledged")
    harness.redis.script_flush()
    reader.close()
    harness.nothing_left()


def test_one_client_per_channel(harness: Harness) -> None:
    channel = harness.connect().channel()
    before = harness.redis.info("stats")["total_connections_received"]
    producer = Producer(channel)
    for number in range(50):
        producer.publish(number, exchange="", routing_key=QUEUE)
    with channel.conn_or_acquire() as one, channel.conn_or_acquire() as other:
        assert one is other
    assert harness.redis.info("stats")["total_connections_received"] - before <= 1


# operators


def test_the_view_of_operators(harness: Harness) -> None:
    for number in range(3):
        harness.publish(number, headers={"id": f"r{number}"})
    harness.publish("urgent is 0, this is 9", priority=9)
    for seconds in (70, 60):
        harness.publish(seconds, headers={**eta(seconds), "id": f"d{seconds}*[x]"})
    client = harness.redis
    assert [job for job, _, _ in queues.delayed_list(client, KeySpace(), QUEUE, 10)] == ["d60*[x]", "d70*[x]"]
    (cancelled,) = queues.take_delayed(client, KeySpace(), QUEUE, {"d70*[x]": None})
    assert cancelled.payload["headers"]["id"] == "d70*[x]"
    assert [*queues.take_delayed(client, KeySpace(), QUEUE, {"d70*[x]": None})] == []
    assert not queues.run_delayed_now(client, KeySpace(), QUEUE, {"d70*[x]": None})
    assert queues.run_delayed_now(client, KeySpace(), QUEUE, {"d60*[x]": None}) == ["d60*[x]"]
    assert bodies(harness.reader(prefetch=3).take(3)) == [60, 0, 1]


# errors of the server


def test_a_full_server_refuses_publishes_and_lets_jobs_end(harness: Harness) -> None:
    for number in range(6):
        harness.publish(number)
    harness.publish("soon", headers=eta(0.2))
    reader = harness.reader(prefetch=1, lease_seconds=3, lease_renew_seconds=0.2)
    message = reader.next()
    harness.redis.config_set("maxmemory", 1)
    try:
        producer = Producer(harness.connect().channel())
        with pytest.raises(OperationalError, match="maxmemory"):
            producer.publish(1, exchange="", routing_key=QUEUE, retry=True, retry_policy={"max_retries": 1})
        message.ack()
        assert reader.replace(reader.next(), "b", queue="other")  # and so claims go on
        reader.next().reject(requeue=True)
        reader.next().ack()
        deadline = harness.redis.zrange("nightshift:consumers", 0, -1, withscores=True)[0][1]
        wait_for(
            lambda: (
                harness.redis.zrange("nightshift:consumers", 0, -1, withscores=True)[0][1] > deadline + 0.5
            ),
            5,
            "the lease was not renewed",
        )
        other = harness.reader()
        assert other.next().payload == 3  # a new consumer can begin
    finally:
        harness.redis.config_set("maxmemory", 0)
    assert harness.ready("other") == ["b"]


def test_a_server_that_became_a_replica_is_a_lost_connection(harness: Harness) -> None:
    harness.publish("a")
    reader = harness.reader()
    reader.within(0.1)
    harness.redis.replicaof("127.0.0.1", 1)
    try:
        with pytest.raises(reader.connection.connection_errors, match=r"(?i)read.?only|unblocked"):
            reader.within(2.5)
        producer = Producer(harness.connect().channel())
        with pytest.raises(reader.connection.connection_errors):
            producer.publish(1, exchange="", routing_key=QUEUE)
    finally:
        harness.redis.replicaof("NO", "ONE")


def test_a_wrong_password_is_reported_and_not_shown(harness: Harness) -> None:
    harness.url = harness.url.replace(harness.server.password, "not-it")
    connection = harness.connect()
    with pytest.raises(AccessRefused, match=r"(?i)password|WRONGPASS") as caught:
        connection.channel()
    assert not isinstance(caught.value, connection.connection_errors)  # nobody is to try again
    assert "not-it" not in str(caught.value)
    assert connection.as_uri().startswith("redis://")
    assert "not-it" not in connection.as_uri()


def _calls(harness: Harness) -> int:
    return int(harness.redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def _commands(harness: Harness) -> int:
    return int(harness.redis.info("stats")["total_commands_processed"])


def _server_time(harness: Harness) -> float:
    seconds, micros = harness.redis.time()
    return float(seconds) + float(micros) / 1e6
