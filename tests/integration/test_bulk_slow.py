"""Bulk actions over slow lines: a portion ends before its lease does, so each job is acted on and counted once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from bulks import letters, runner, statuses, wait_in_outbox, warm
from flask_nightshift import journal
from flask_nightshift.dead_letters import Filters as LetterFilters
from flask_nightshift.domain.job import JobState
from flask_nightshift.observe.jobs import Filters
from flask_nightshift.operations import bulk
from flask_nightshift.operations.bulk import portion
from flask_nightshift.services import Services
from flask_nightshift.store import bulk_actions as rows
from flask_nightshift.store.tables import outbox
from long_road import far_away
from opsapp import Ops, opened
from servers import wait_for

LEASE = 3.0
"""Seconds for 20; a round trip of 120 ms becomes one of 18."""
ROUND_TRIP = 0.018


class Place(NamedTuple):
    """An app beside its servers, and two workers' services that are far from them."""

    near: Ops
    far: tuple[Ops, Ops]


@pytest.fixture(
    params=["valkey", pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.thorough])]
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Redis far away and a file beside the workers, or RabbitMQ and PostgreSQL far away; times are scaled down."""
    scale = LEASE / rows.LEASE.total_seconds()
    monkeypatch.setattr(rows, "LEASE", timedelta(seconds=LEASE))
    monkeypatch.setattr(portion, "SECONDS", portion.SECONDS * scale)
    monkeypatch.setattr(portion, "STEP_SECONDS", portion.STEP_SECONDS * scale)
    with ExitStack() as stack:
        server = request.getfixturevalue(request.param)
        broker = server.fresh_url()
        way, _ = stack.enter_context(far_away(server, ROUND_TRIP / 2, broker))
        database = road = f"sqlite:///{tmp_path}/history.sqlite3"
        if request.param == "rabbitmq":
            postgres = request.getfixturevalue("postgres")
            database = postgres.fresh_url()
            road, _ = stack.enter_context(far_away(postgres, ROUND_TRIP / 2, database))
        near = stack.enter_context(opened(tmp_path, broker, NIGHTSHIFT_DATABASE_URL=database))
        warm(near)
        workers = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            far = opened(tmp_path / name, way, migrate=False, NIGHTSHIFT_DATABASE_URL=road)
            workers.append(stack.enter_context(far))
        yield Place(near, (workers[0], workers[1]))


def carried_out(place: Place, action: str, filters: Any, **options: Any) -> bulk.BulkAction:
    """The action, when both workers have taken its portions until it ended."""
    services = place.near.services
    planned = bulk.plan(services, action, filters, options)
    begun = bulk.start(services, planned, by="ann", rate=10_000)

    def work(far: Services, name: str) -> None:
        mine = runner(far, name)

        def ended() -> bool:
            mine.turn()
            return bulk.find(services, begun.id).ended

        wait_for(ended, 100, "the action does not end")

    with ThreadPoolExecutor() as pool:
        for each in [pool.submit(work, ops.services, f"{at}@far") for at, ops in enumerate(place.far)]:
            each.result()
    done = bulk.find(services, begun.id)
    assert done.total == planned.total
    return done


def in_outbox(ops: Ops) -> int:
    with ops.services.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(outbox)).scalar_one())


def ready(ops: Ops) -> int:
    return ops.services.broker.depths(["mail"])[0].ready


def states(ops: Ops, ids: list[str]) -> Counter[JobState]:
    ops.services.journal.flush(10)
    found = [journal.find_job(ops.services.store, job_id) for job_id in ids]
    return Counter(each.state for each in found if each is not None)


def test_jobs_in_an_outbox_are_cancelled_before_those_of_the_history(place: Place) -> None:
    ops = place.near
    published = [ops.send.delay(number).id for number in range(180)]
    ops.services.journal.flush(10)
    waiting = wait_in_outbox(ops, 20)
    done = carried_out(place, "cancel", Filters(task="mail.*"))
    assert (done.state, done.total, done.acted, done.skipped) == ("done", 200, 200, 0)
    assert in_outbox(ops) == 0
    assert states(ops, waiting) == {JobState.CANCELLED: 20}
    if ops.services.broker.waiting_jobs() is not None:
        assert states(ops, published) == {JobState.CANCELLED: 180}
        assert ready(ops) == 0


def test_unique_letters_are_replayed_once_and_counted_once(place: Place) -> None:
    ops = place.near
    count = 60 if ops.services.broker.capabilities.lists_delayed else 25
    letters(ops.services.store, count, unique=True)
    letters(ops.services.store, 30)
    done = carried_out(place, "replay", LetterFilters())
    assert (done.state, done.acted, done.skipped) == ("done", count + 30, 0)
    assert statuses(ops.services.store) == {"replayed": count + 30}
    assert in_outbox(ops) == 0
    wait_for(lambda: ready(ops) == count + 30, 20, "each job in its queue")
    assert len(ops.services.locks.held(100)) == count


def test_delayed_jobs_run_now_once_and_are_counted_once(place: Place) -> None:
    ops = place.near
    if not ops.services.broker.capabilities.lists_delayed:
        pytest.skip("RabbitMQ does not list delayed jobs")
    for number in range(90):
        ops.send.apply_async((number,), countdown=3600)
    ops.services.journal.flush(10)
    done = carried_out(place, "run", Filters(task="mail.send"))
    assert (done.state, done.acted, done.skipped) == ("done", 90, 0)
    assert ready(ops) == 90
