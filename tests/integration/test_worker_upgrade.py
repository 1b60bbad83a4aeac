"""``flask jobs worker`` beside plain Celery, and beside itself on kombu's transport: one queue, each job once."""

from __future__ import annotations

import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from servers import Valkey
from system import Process, System

QUEUE = "celery"
DELAYED = KeySpace().delayed(QUEUE)


@pytest.fixture
def stock(valkey: Valkey) -> Iterator[Celery]:
    """Plain Celery that enqueues."""
    with Celery(broker=valkey.fresh_url(), set_as_current=False) as app:
        yield app


@pytest.fixture
def nap(valkey: Valkey, stock: Celery, tmp_path: Path) -> Iterator[Any]:
    """The task as an app with Nightshift enqueues it."""
    app, jobs = Flask("producer", instance_path=str(tmp_path / "instance")), Nightshift()
    app.config["NIGHTSHIFT_BROKER_URL"] = valkey.url

    @jobs.task(name="test.nap")
    def nap(marker: str, seconds: float) -> None:
        raise NotImplementedError

    jobs.init_app(app)
    with app.app_context():
        yield nap


@pytest.fixture
def system(valkey: Valkey, at: Callable[..., System], stock: Celery) -> System:
    return at(valkey.url, NIGHTSHIFT_UNKNOWN_TASK_WAIT="1")


def test_both_run_what_either_enqueued(system: System, stock: Celery, nap: Any) -> None:
    nightshift = system.worker("--concurrency", "1")
    unknown, blocker = some(1), some(1)
    send(stock, "test.only_stock", unknown)
    system.until(lambda: nightshift.lines("job.postponed"), 20, "an unknown task is not put off")
    enqueue(system, "test.progress", blocker)
    system.until(lambda: begun(system, blocker), 20, "it does not block")
    ours, theirs, ours_later, theirs_later = some(40), some(40), some(5), some(5)
    for who in ours_later:
        nap.apply_async((who, 0), countdown=2)
    send(stock, "test.nap", theirs_later, 0, countdown=2)
    for at in range(0, 40, 10):  # both workers have much to do: an idle stock worker is always the faster one
        for who in ours[at : at + 10]:
            nap.delay(who, 0.1)
        send(stock, "test.nap", theirs[at : at + 10], 0.1)
    celery_worker(system)
    release(system, blocker)
    send(stock, "test.only_stock", more_unknown := some(20))
    all_done(system, [*ours, *theirs, *ours_later, *theirs_later])
    for group in (ours, theirs):
        assert 0 < len(ran_on_stock(system, group)) < len(group), "one of the workers ran none of them"

    unknown += more_unknown
    system.until(
        lambda: len(ran_on_stock(system, unknown)) + len(system.archived()) == len(unknown),
        30,
        "some are missing",
    )
    letters = system.dead()
    assert {letter["reason"] for letter in letters} == {"unknown_task"}
    assert len({letter["job_id"] for letter in letters}) == len(letters)


def test_retries_cross_over(system: System, stock: Celery, valkey: Valkey) -> None:
    blocker, retried = some(1), some(10)
    enqueue(system, "test.flaky", retried, 1)
    enqueue(system, "test.progress", blocker)
    nightshift = system.worker("--concurrency", "1")
    system.until(lambda: begun(system, blocker), 20, "the first attempts are not over")
    with valkey.client() as client:  # those that are due by now stand behind the blocker
        assert client.zcard(DELAYED) + client.llen(QUEUE) == len(retried)
    old = celery_worker(system)
    release(system, blocker)  # and nightshift has one of the retries, which makes all of them ready
    all_done(system, retried, begun=2)
    assert ran_on_stock(system, retried), "no retry of nightshift ran on the stock worker"
    assert nightshift.stop() == 0

    ours, theirs, later = some(5), some(5), some(3)
    enqueue(system, "test.flaky", ours, 1)
    send(stock, "test.flaky", theirs, 1)
    send(stock, "test.nap", later, 0, countdown=5)
    system.until(lambda: begun(system, [*ours, *theirs]), 20, "the stock worker did not begin them")
    assert old.stop() == 0  # gives back what it had, with its times
    system.worker("--concurrency", "1", name="next")
    all_done(system, [*ours, *theirs], begun=2)
    all_done(system, later)
    assert {told(system)[who]["stock"] for who in (*ours, *theirs)} == {1}
    assert not ran_on_stock(system, later)


def test_the_first_steps_back_to_plain_celery(valkey: Valkey, at: Callable[..., System]) -> None:
    system = at(valkey.fresh_url(), NIGHTSHIFT_REDIS_TRANSPORT="kombu")
    client = valkey.client()
    enqueue(system, "test.nap", later := some(5), 0, countdown=3)
    assert (client.llen(QUEUE), client.zcard(DELAYED)) == (5, 0)  # no producer delays in the broker any more
    new = system.worker("--concurrency", "1", name="leases", NIGHTSHIFT_REDIS_TRANSPORT="lease")
    old = system.worker("--concurrency", "1", name="kombus")
    all_done(system, later)

    enqueue(system, "test.progress", blockers := some(2))
    system.until(lambda: begun(system, blockers), 20, "not both are at work")
    assert client.hlen("unacked") == client.hlen(KeySpace().leased) == 1, (
        "they do not use different transports"
    )
    assert len(client.keys(KeySpace().lease("*"))) == 1

    enqueue(system, "test.nap", jobs := some(40), 0.05)
    enqueue(system, "test.flaky", retried := some(5), 2)
    release(system, blockers)
    all_done(system, jobs)
    all_done(system, retried, begun=3)
    naps = [len(worker.lines("job.succeeded", task="test.nap")) for worker in (new, old)]
    assert sum(naps) == len(later) + len(jobs)
    assert min(naps) > len(later), "one of the workers ran none of them"

    system.until(lambda: not client.exists(DELAYED), 20, "something is still delayed")
    assert new.stop() == 0
    assert not client.keys("nightshift:lease*")
    enqueue(system, "test.flaky", alone := some(3), 1)
    all_done(system, alone, begun=2)
    assert old.stop() == 0
    assert not client.exists("unacked", QUEUE, DELAYED)


# -- what the tests do


def celery_worker(system: System) -> Process:
    """A ``celery worker`` without Nightshift."""
    argv = [sys.executable, "-m", "celery", "-A", "stockapp", "worker", "-c", "1", "-n", "stock@test"]
    process = system._start("stock", [*argv, "-l", "info", "--without-gossip", "--without-mingle"], {})
    system.until(lambda: " ready." in process.log, 60, "the stock worker is not ready")
    return process


def some(count: int) -> list[str]:
    return [uuid.uuid4().hex[:12] for _ in range(count)]


def enqueue(system: System, task: str, markers: list[str], *args: Any, **options: Any) -> None:
    for who in markers:
        system.enqueue(task, who, *args, **options)


def send(stock: Celery, task: str, markers: list[str], *args: Any, **options: Any) -> None:
    for who in markers:
        stock.send_task(task, [who, *args], **options)


def release(system: System, markers: list[str]) -> None:
    """Let ``test.progress`` go on."""
    for who in markers:
        system.ledger.with_name(f"{system.ledger.name}.{who}").touch()


def told(system: System) -> dict[str, dict[str, int]]:
    """The ledger as counts: marker → event → number."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in system.ledger.read_text().splitlines():
        who, event = line.split(" ", 1)
        found[who][event] += 1
    return found


def begun(system: System, markers: list[str]) -> bool:
    return all(told(system)[who]["begun"] for who in markers)


def ran_on_stock(system: System, markers: list[str]) -> list[str]:
    return [who for who in markers if told(system)[who]["stock"]]


def all_done(system: System, markers: list[str], begun: int = 1) -> None:
    """Wait until each job is done; check that each began the expected number of times, and ended once."""
    system.until(lambda: all(told(system)[who]["done"] for who in markers), 60, "some jobs did not end")
    events = told(system)
    assert {(events[who]["begun"], events[who]["done"]) for who in markers} == {(begun, 1)}
