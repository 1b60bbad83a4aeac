"""Workers that carry out a bulk action are killed in the middle: each job is acted on exactly once."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import update

from bulks import drive, letters, runner, statuses, wait_in_outbox, warm
from children import fork, join
from flask_nightshift.dead_letters import Filters
from flask_nightshift.domain.job import utcnow
from flask_nightshift.observe.jobs import Filters as JobFilters
from flask_nightshift.operations import bulk
from flask_nightshift.outbox import claims
from flask_nightshift.services import Services
from flask_nightshift.store import bulk_actions as rows
from flask_nightshift.store.tables import bulk_actions as table
from opsapp import Ops, opened
from system import System, running

COUNT = 240


class Site(NamedTuple):
    """The services of the test process, and a system of processes on the same broker and database."""

    ops: Ops
    system: System

    @property
    def services(self) -> Services:
        return self.ops.services


@pytest.fixture(params=["valkey", "rabbitmq"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    broker = request.getfixturevalue(request.param).fresh_url()
    database = f"sqlite:///{tmp_path}/history.sqlite3"
    if request.param == "rabbitmq":
        database = request.getfixturevalue("postgres").fresh_url()
    with ExitStack() as stack:
        ops = stack.enter_context(opened(tmp_path, broker, NIGHTSHIFT_DATABASE_URL=database))
        warm(ops)
        yield Site(ops, stack.enter_context(running(tmp_path, broker, NIGHTSHIFT_DATABASE_URL=database)))


def replay_all(site: Site, rate: float) -> bulk.BulkAction:
    planned = bulk.plan(site.services, "replay", Filters())
    return bulk.start(site.services, planned, by="ann", rate=rate)


def let_the_lease_end(site: Site) -> None:
    with site.services.store.begin() as connection:
        past = utcnow() - rows.LEASE - timedelta(seconds=1)
        connection.execute(update(table).values(claimed_at=past, due_at=past))


def relay_what_is_left(site: Site) -> int:
    """As a relay does some time after the death of a worker."""
    (relay, *_) = site.services.relays("later@test")
    found = claims.claim(relay.store, claims.look(relay.store, 1000), relay.name)
    return relay.publish(found)


def each_ran_once(site: Site) -> None:
    """Let a worker run what is in the queue, and count."""
    site.system.worker("--concurrency", "2", "--queues", "mail", name="consumer")
    expected = {f"m{number}" for number in range(COUNT)}

    def done() -> bool:
        lines = (line.split() for line in site.system.ledger.read_text().splitlines())
        return {marker for marker, event in lines if event == "done"} >= expected

    site.system.until(done, 60, "not all jobs ran")
    depth = site.services.broker.depths(["mail"])[0]
    site.system.until(
        lambda: site.services.broker.depths(["mail"])[0].ready == 0, 20, f"jobs are left: {depth}"
    )
    lines = [line for line in site.system.ledger.read_text().splitlines() if line.endswith(" begun")]
    twice = {line: count for line, count in Counter(lines).items() if count != 1}
    assert not twice
    assert len(lines) == COUNT


def test_workers_are_killed_again_and_again(site: Site) -> None:
    letters(site.services.store, COUNT, task="test.succeed", args=["m%"])
    action = replay_all(site, rate=40)
    killed = 0
    while not (found := bulk.find(site.services, action.id)).ended:
        worker = site.system.worker("--concurrency", "1", "--queues", "other", name=f"carrier{killed}")
        site.system.until(
            lambda seen=found: bulk.find(site.services, action.id).acted >= min(seen.acted + 50, COUNT),
            60,
            "it does not go on",
        )
        if killed < 3:
            time.sleep(killed * 0.07)  # at different places of a portion
            worker.kill_tree()
            killed += 1
            let_the_lease_end(site)
            continue
        site.system.until(lambda: bulk.find(site.services, action.id).ended, 60, "it does not end")
    assert killed == 3
    found = bulk.find(site.services, action.id)
    assert (found.state, found.acted, found.skipped) == ("done", COUNT, 0)
    assert statuses(site.services.store) == {"replayed": COUNT}
    relay_what_is_left(site)
    each_ran_once(site)


def test_a_worker_dies_at_each_step_of_a_portion(site: Site) -> None:
    letters(site.services.store, COUNT, task="test.succeed", args=["m%"])
    action = replay_all(site, rate=30)

    def dies(module: Any, name: str, *, after: bool = False) -> Callable[[], None]:
        def child() -> None:
            work, original = runner(site.services), getattr(module, name)

            def die(*args: Any, **options: Any) -> None:
                if after:
                    original(*args, **options)
                os._exit(0)

            setattr(module, name, die)
            work.turn()

        return child

    steps = [
        dies(rows, "claim", after=True),
        dies(rows, "advance"),
        dies(rows, "advance", after=True),  # before the commit
        dies(claims, "settle"),  # the broker has the jobs
        dies(claims, "settle", after=True),
    ]
    for step in steps:
        let_the_lease_end(site)
        join(fork(step))
    let_the_lease_end(site)
    found = bulk.find(site.services, action.id)
    assert found.acted == 60  # of the last two
    with site.services.store.begin() as connection:
        connection.execute(update(table).values(rate=10_000))
    drive(runner(site.services, "last@test"))
    assert bulk.find(site.services, action.id).acted == COUNT
    assert relay_what_is_left(site) == 30
    each_ran_once(site)


STEPS = {
    "before it acts": ("begin", False),
    "when it has acted": ("advance", False),
    "when it has noted it": ("advance", True),
}


def carried_out_by_mortals(site: Site, action: str, filters: JobFilters) -> bulk.BulkAction:
    """The action, of which one worker after the other dies in a step."""
    services = site.services
    planned = bulk.plan(services, action, filters)
    begun = bulk.start(services, planned, by="ann", rate=10_000)

    def dies(name: str, *, after: bool) -> Callable[[], None]:
        def child() -> None:
            work, original = runner(services), getattr(rows, name)

            def die(connection: Any, *args: Any, **options: Any) -> None:
                if after:
                    original(connection, *args, **options)
                    connection.commit()
                os._exit(0)

            setattr(rows, name, die)
            work.turn()

        return child

    for name, after in STEPS.values():
        let_the_lease_end(site)
        join(fork(dies(name, after=after)))
    let_the_lease_end(site)
    drive(runner(services, "last@test"))
    return bulk.find(services, begun.id)


def test_a_step_whose_worker_died_is_counted_when_it_is_repeated(site: Site) -> None:
    for number in range(45):
        site.ops.send.delay(number)
    site.services.journal.flush(10)
    found = carried_out_by_mortals(site, "cancel", JobFilters(task="mail.send"))
    assert (found.state, found.total, found.acted, found.skipped) == ("done", 45, 45, 0)
    if not site.services.broker.capabilities.lists_delayed:
        return
    for number in range(45):
        site.ops.send.apply_async((number,), countdown=3600)
    site.services.journal.flush(10)
    found = carried_out_by_mortals(site, "run", JobFilters(task="mail.send"))
    assert (found.state, found.total, found.acted, found.skipped) == ("done", 45, 45, 0)
    assert site.services.broker.depths(["mail"])[0].ready == 45


def test_a_step_in_an_outbox_is_counted_too(site: Site) -> None:
    wait_in_outbox(site.ops, 25)
    found = carried_out_by_mortals(site, "cancel", JobFilters(task="mail.*"))
    assert (found.state, found.total, found.acted, found.skipped) == ("done", 25, 25, 0)
