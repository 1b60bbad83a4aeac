"""Each tick is exactly one job, with two Beats: what they claim, leave out, delay and catch up, on both brokers."""

from __future__ import annotations

import json
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import schedule
from kombu import Connection
from redis import Redis
from sqlalchemy import select, update

from beats import START, Beats, Clock
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable, ConfigurationError
from flask_nightshift.outbox.claims import backlog_of
from flask_nightshift.schedule import claims
from flask_nightshift.store import schedules, tables, tick_claims
from flask_nightshift.store.tables import outbox
from opsapp import Ops, opened
from servers import wait_for
from system import running

Make = Callable[..., Beats]
PAIRS = {"valkey": "sqlite", "rabbitmq": "postgres"}
BROKERS = ["valkey", pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=BROKERS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, str]:
    """A broker's server and the URL of a new database, without all four pairs."""
    server = request.getfixturevalue(request.param)
    if PAIRS[request.param] == "postgres":
        return server, str(request.getfixturevalue("postgres").fresh_url())
    return server, f"sqlite:///{tmp_path}/history/nightshift.sqlite3"


@pytest.fixture
def beats(
    clock: Clock, pair: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Make Beats of one entry, ``often``, whose keys are given."""
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 30.0)  # a busy machine is no outage
    with ExitStack() as stack:

        def make(when: Any = MINUTE, **more: Any) -> Beats:
            config = {name: more.pop(name) for name in list(more) if name.isupper()}
            url = pair[0].fresh_url()
            ops = stack.enter_context(opened(tmp_path, url, NIGHTSHIFT_DATABASE_URL=pair[1], **config))
            entry = {"task": "mail.send", "schedule": when, "args": (1,), **more}
            ops.services.celery.conf.beat_schedule = {"often": entry}
            made = Beats(ops, clock)
            made.warm_up()
            stack.callback(made.end)
            return made

        yield make


def both(lives: Beats, other: Any) -> int:
    """Both Beats look at their schedules twice; returns the number of jobs that they enqueued."""
    return sum(lives.turn(each) for each in (other, lives.scheduler, other, lives.scheduler))


def test_two_beats_enqueue_one_job_for_each_tick(clock: Clock, beats: Make) -> None:
    lives = beats()
    lives.live()
    other = lives.another()
    found = []
    for _ in range(5):
        clock.at += timedelta(seconds=30)
        found.append(both(lives, other))
    assert found == [0, 1, 0, 1, 0]
    other.close()
    lives.end()
    row = schedules.read(lives.ops.services.store)["often"]
    assert (row.last_due_at, row.next_at) == (START + 2 * MINUTE, START + 3 * MINUTE)
    assert (row.total_run_count, row.last_run_at, row.anchor) == (2, START + 2 * MINUTE, START)
    assert (row.task, row.spec) == ("mail.send", "every 60 s")
    assert uuid.UUID(row.last_job_id).int >> 80 == int((START + 2 * MINUTE).timestamp() * 1000)


def test_a_beat_that_was_slower_looks_first_and_takes_over(clock: Clock, beats: Make) -> None:
    """Tools such as Sentry wrap ``apply_entry``, and should hear of each tick once."""
    lives = beats()
    slower = lives.live()
    faster = lives.another()
    real, applied = slower.apply_entry, []

    def apply_entry(entry: Any, producer: Any = None) -> None:
        applied.append(entry.name)
        real(entry, producer=producer)

    slower.apply_entry = apply_entry
    for _ in range(4):
        clock.at += timedelta(seconds=30)
        assert lives.turn(faster) + lives.turn(slower) == (clock.at.second == 0)
    assert len(applied) == 1
    faster.close()
    clock.at += MINUTE
    assert lives.turn(slower) == 0, "it waits a moment"
    clock.at += timedelta(seconds=1)
    assert lives.turn(slower) == 1
    assert len(applied) == 2
    clock.at += MINUTE - timedelta(seconds=1)
    assert (lives.turn(slower), len(applied)) == (1, 3), "it is the faster one now"


def test_a_beat_that_was_frozen_between_its_decision_and_the_claim_enqueues_nothing(
    clock: Clock, beats: Make
) -> None:
    lives = beats()
    frozen = lives.live()
    other = lives.another()
    clock.at += MINUTE
    real = frozen._claims.send

    def late(*args: Any) -> Any:
        assert lives.turn(other) == 1
        clock.at += 5 * MINUTE
        assert lives.turn(other) == 1
        return real(*args)

    frozen._claims.send = late
    assert lives.turn(frozen) == 2, "those of the other one"
    assert both(lives, other) == 0
    other.close()


def test_after_a_downtime_several_beats_catch_up_together(clock: Clock, beats: Make) -> None:
    lives = beats(catch_up="all")
    lives.live()
    other = lives.another()
    clock.at += 20 * MINUTE
    assert both(lives, other) == 20
    other.close()


def test_a_publish_whose_answer_was_lost_is_not_repeated(clock: Clock, beats: Make) -> None:
    lives = beats()
    scheduler = lives.live()
    clock.at += MINUTE
    real = scheduler._claims.send

    def lost(*args: Any) -> Any:
        real(*args)
        scheduler._claims.send = real
        raise BrokerUnavailable("its answer was lost")

    scheduler._claims.send = lost
    assert lives.turn() == 1
    assert lives.turn() == 0
    clock.at += MINUTE
    assert lives.turn() == 1
    lives.end()
    row = schedules.read(lives.ops.services.store)["often"]
    assert row.last_run_at == START + 2 * MINUTE


def test_a_relative_interval_compares_and_sets_its_last_run(clock: Clock, beats: Make) -> None:
    lives = beats(schedule(timedelta(hours=1), relative=True))
    lives.live()
    other = lives.another()
    clock.at += timedelta(minutes=59)
    assert both(lives, other) == 0
    clock.at += timedelta(minutes=1, seconds=1)
    assert both(lives, other) == 1
    clock.at += timedelta(minutes=50)
    assert both(lives, other) == 0
    clock.at += timedelta(minutes=20)
    assert both(lives, other) == 1
    other.close()


def test_a_paused_entry_and_a_skipped_tick_enqueue_nothing(clock: Clock, beats: Make) -> None:
    lives = beats(catch_up="all")
    store = lives.ops.services.store
    lives.live()
    other = lives.another()
    assert both(lives, other) == 0

    def heard(column: str, value: Any) -> None:
        for each in (lives.scheduler, other):
            wait_for(lambda each=each: getattr(each.memory.row("often"), column) == value, 10, column)

    assert schedules.skip(store, "often", START + 2 * MINUTE)
    heard("skip_until", START + 2 * MINUTE)
    clock.at += 3 * MINUTE
    assert both(lives, other) == 1, "the third"
    assert schedules.pause(store, "often", "ann", clock.at)
    assert schedules.pause(store, "often", "bob", clock.at + MINUTE)
    heard("paused_by", "ann")
    clock.at += 5 * MINUTE
    assert both(lives, other) == 0
    lives.live()  # neither does a new one
    assert both(lives, other) == 0
    assert schedules.resume(store, "often", clock.at)
    heard("paused_at", None)
    assert both(lives, other) == 0, "what fell into the pause is not caught up"
    clock.at += MINUTE
    assert both(lives, other) == 1
    assert schedules.pause(store, "unknown", "ann", clock.at) is None
    other.close()


def test_overlap_skip_enqueues_nothing_while_the_last_job_waits(clock: Clock, beats: Make) -> None:
    lives = beats(overlap="skip")
    locks = lives.ops.services.locks
    lives.live()
    found = []
    for _ in range(2):
        clock.at += MINUTE
        found.append(lives.turn())
    (lock,) = locks.held(10)
    locks.release(lock.key)  # as the end of the job does
    clock.at += MINUTE
    assert [*found, lives.turn()] == [1, 0, 1]


def test_a_task_with_a_lock_of_its_own_has_no_overlap(beats: Make) -> None:
    lives = beats(overlap="skip")
    lives.ops.send.unique = "until_done"
    with pytest.raises(
        ConfigurationError, match=r"beat_schedule\['often'\]\['overlap'\] = 'skip'.*is unique"
    ):
        lives.live()


def test_jitter_delays_the_job_in_the_broker(clock: Clock, beats: Make) -> None:
    lives = beats(jitter=86_400)
    clock.at = datetime.now(UTC) - MINUTE
    lives.live()
    clock.at += MINUTE
    broker = lives.ops.services.broker

    def delayed() -> int:
        together = broker.delayed()
        return broker.depths(["mail"])[0].delayed or 0 if together is None else together

    assert lives.turn() == 0
    wait_for(lambda: delayed() == 1, 10, "the delayed job")


def test_the_server_decides_when_a_tick_is_due(clock: Clock, beats: Make) -> None:
    clock.at = datetime.now(UTC) + timedelta(seconds=40)  # this Beat's clock is ahead
    lives = beats(timedelta(seconds=20))
    lives.live()
    clock.at += timedelta(seconds=20)
    lives.scheduler.tick()
    lives.scheduler.tick()
    assert lives.ready == 0
    life = lives.scheduler._lives["often"]
    assert life.last < clock.at - timedelta(seconds=19), "it stays due"


def test_a_job_that_needs_celerys_producer_is_claimed_in_the_database(clock: Clock, beats: Make) -> None:
    lives = beats(NIGHTSHIFT_CELERY={"task_send_sent_event": True})
    lives.live()
    other = lives.another()
    clock.at += MINUTE
    assert both(lives, other) == 1
    broker: Any = lives.ops.services.broker

    def away(*_: Any, **__: Any) -> Any:
        raise BrokerUnavailable("it is away")

    real, broker.send = broker.send, away
    clock.at += MINUTE
    for each in (lives.scheduler, other):
        each.tick()
    assert lives.ready == 1
    broker.send = real
    assert both(lives, other) == 1, "the claim was given back"
    other.close()
    lives.end()
    row = schedules.read(lives.ops.services.store)["often"]
    assert row.last_due_at == START + 2 * MINUTE


def test_a_tick_whose_beat_dies_while_celerys_producer_publishes_it_is_taken_over(
    clock: Clock, beats: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = beats(NIGHTSHIFT_CELERY={"task_send_sent_event": True})
    dying = lives.live()
    other = lives.another()
    monkeypatch.setattr(tick_claims, "SENDING", timedelta(seconds=60))
    broker: Any = lives.ops.services.broker
    real = broker.send

    def dies(*_: Any, **__: Any) -> Any:
        raise BrokerUnavailable("the process is killed")

    clock.at += MINUTE
    with monkeypatch.context() as killed:
        killed.setattr(broker, "send", dies)
        killed.setattr(tick_claims, "give_up", lambda *_: None)
        dying.tick()
    other.tick()
    assert lives.ready == 0, "it may still publish"
    with lives.ops.services.store.begin() as connection:
        connection.execute(update(tables.schedules).values(sending_until=utcnow() - timedelta(seconds=1)))
    assert lives.turn(other) == 1, "nobody takes it over"
    assert broker.send == real
    dying.tick()
    assert lives.ready == 1
    row = schedules.read(lives.ops.services.store)["often"]
    assert (row.last_due_at, row.total_run_count, row.sending_until) == (START + MINUTE, 1, None)
    other.close()


def test_on_redis_the_claims_hold_without_a_database(clock: Clock, valkey: Any, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url(), migrate=False) as ops:
        ops.services.celery.conf.beat_schedule = {
            "often": {"task": "mail.send", "schedule": 60, "args": (1,)}
        }
        lives = Beats(ops, clock)
        clock.at += timedelta(seconds=7)
        lives.live()
        clock.at += timedelta(seconds=13)
        other = lives.another()
        found = []
        for _ in range(6):
            clock.at += timedelta(seconds=20)
            found.append(both(lives, other))
        assert found == [0, 1, 0, 0, 1, 0]
        other.close()
        lives.end()


def minutely(ops: Ops, clock: Clock) -> Beats:
    """A Beat that lives, whose one entry is due every minute."""
    ops.services.celery.conf.beat_schedule = {"often": {"task": "mail.send", "schedule": 60, "args": (1,)}}
    lives = Beats(ops, clock)
    lives.warm_up()
    lives.live()
    return lives


@pytest.mark.rabbitmq
@pytest.mark.postgres
def test_with_the_database_away_beats_tick_without_claims(
    clock: Clock, rabbitmq: Any, postgres: Any, tmp_path: Path
) -> None:
    """Two of them may enqueue a tick twice then; the copies name one row, so that a worker drops the second."""
    with opened(tmp_path, rabbitmq.fresh_url(), NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as ops:
        lives = minutely(ops, clock)
        postgres.freeze()
        try:
            clock.at += MINUTE
            assert lives.turn() == 1
            clock.at += MINUTE
            assert lives.turn() == 1
        finally:
            postgres.thaw()
        wait_for(
            lambda: schedules.read(ops.services.store)["often"].last_due_at == START + 2 * MINUTE,
            20,
            "the row",
        )
        lives.end()


@pytest.mark.rabbitmq
@pytest.mark.postgres
def test_with_the_broker_away_one_tick_waits_in_the_outbox_and_the_policy_decides_about_the_rest(
    clock: Clock, rabbitmq: Any, postgres: Any, tmp_path: Path
) -> None:
    with opened(tmp_path, rabbitmq.fresh_url(), NIGHTSHIFT_DATABASE_URL=postgres.fresh_url()) as ops:
        lives = minutely(ops, clock)
        scheduler, real = lives.scheduler, ops.services.broker.publish_many

        def away(*_: Any, **__: Any) -> Any:
            raise BrokerUnavailable("it is away")

        broker: Any = ops.services.broker
        broker.publish_many = broker.health = away
        for _ in range(3):
            clock.at += MINUTE
            scheduler.tick()
        with ops.services.store.read() as connection:
            assert len(connection.execute(select(outbox.c.id)).all()) == 1
        broker.publish_many = real
        del broker.health
        scheduler.tick()
        wait_for(lambda: lives.ready == 2, 30, "the first tick, by a relay, and one for the two others")
        lives.end()


def test_two_real_beats_of_which_one_is_killed_and_one_is_frozen(
    pair: tuple[Any, str], tmp_path: Path
) -> None:
    server, database = pair
    url = server.fresh_url()
    with (
        running(tmp_path, url, FLASK_APP="tickapp", NIGHTSHIFT_DATABASE_URL=database) as system,
        opened(tmp_path, url, migrate=False, NIGHTSHIFT_DATABASE_URL=database) as ops,
    ):

        def start(name: str) -> Any:
            return system._start(name, [sys.executable, "-m", "flask", "jobs", "beat"], {})

        def ready() -> int:
            return ops.services.broker.depths(["ticks"])[0].ready

        def more(count: int) -> None:
            wanted = ready() + count
            wait_for(lambda: ready() >= wanted, 30, "more ticks")

        one, two = start("one"), start("two")
        more(2)
        one.signal(signal.SIGSTOP)
        more(3)
        one.signal(signal.SIGCONT)
        two.kill_tree()
        more(3)
        three = start("three")
        wait_for(lambda: three.lines("beat.started"), 30, "the third Beat")
        more(2)
        assert one.stop() == 0
        more(2)
        assert three.stop() == 0
        wait_for(lambda: backlog_of(ops.services.outboxes).rows == 0, 30, "what the killed one left")
        found = sorted((uuid.UUID(each).int >> 80) // 1000 for each in ids_in(url, "ticks"))
        assert found == list(range(found[0], found[0] + len(found)))


def ids_in(url: str, queue: str) -> list[str]:
    """The ids of the jobs that are ready in ``queue``; they stay there."""
    if url.startswith("redis"):
        with Redis.from_url(url) as client:
            return [json.loads(raw)["headers"]["id"] for raw in client.lrange(queue, 0, -1)]
    with Connection(url) as connection, connection.channel() as channel:
        return [message.headers["id"] for message in iter(lambda: channel.basic_get(queue), None)]
