"""Bulk actions, step by step: their set, their portions, who takes over, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select, update

from bulks import drive, letters, runner, statuses, warm
from flask_nightshift import journal
from flask_nightshift.dead_letters import Filters as LetterFilters
from flask_nightshift.dead_letters import portions
from flask_nightshift.domain.actor import Actor
from flask_nightshift.domain.job import Attempt, JobState, utcnow
from flask_nightshift.domain.tombstones import tombstone
from flask_nightshift.errors import (
    BrokerUnavailable,
    BulkActionEnded,
    BulkActionNotFound,
    ConfigurationError,
    DatabaseUnavailable,
    Unsupported,
)
from flask_nightshift.message.headers import next_attempt
from flask_nightshift.observe import audit as actions
from flask_nightshift.observe.jobs import Filters as JobFilters
from flask_nightshift.operations import bulk
from flask_nightshift.operations import bulk_runner as runners
from flask_nightshift.operations.bulk import letters as bulk_letters
from flask_nightshift.store import bulk_actions as rows
from flask_nightshift.store.tables import bulk_actions as table
from flask_nightshift.store.tables import dead_letters as letters_table
from flask_nightshift.store.tables import jobs, outbox
from opsapp import Ops, opened, opened_on
from servers import Valkey

ANN = Actor("ann")


@pytest.fixture(params=["valkey", "rabbitmq"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    with opened_on(request, tmp_path) as made:
        warm(made)
        yield made


def begin(
    ops: Ops, action: str, filters: Any = None, rate: float = 10_000, **options: Any
) -> bulk.BulkAction:
    filters = filters or (LetterFilters() if action in ("replay", "discard") else JobFilters())
    return bulk.start(ops.services, bulk.plan(ops.services, action, filters, options), by=ANN, rate=rate)


def ready(ops: Ops, queue: str = "mail") -> int:
    return ops.services.broker.depths([queue])[0].ready


def in_outbox(ops: Ops) -> int:
    with ops.services.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(outbox)).scalar_one())


def due_now(ops: Ops, action_id: str) -> None:
    with ops.services.store.begin() as connection:
        past = utcnow() - timedelta(hours=1)
        connection.execute(update(table).where(table.c.id == action_id).values(due_at=past))


def test_a_replay_takes_its_set_and_nothing_that_came_later(ops: Ops) -> None:
    ids = letters(ops.services.store, 30)
    letters(ops.services.store, 5, task="mail.other")
    planned = bulk.plan(ops.services, "replay", LetterFilters(task="mail.send"))
    assert (planned.total, planned.counted) == (30, "30 dead letters")
    letters(ops.services.store, 4, at=utcnow() + timedelta(seconds=1))
    action = bulk.start(ops.services, planned, by=ANN, why="the partner is back", rate=10_000)
    assert action.state == "waiting"
    drive(runner(ops.services))
    done = bulk.find(ops.services, action.id)
    assert (done.state, done.acted, done.skipped, done.worker) == ("done", 30, 0, "hand@test")
    assert statuses(ops.services.store) == {"replayed": 30, "waiting": 9}
    assert (ready(ops), in_outbox(ops)) == (30, 0)
    ops.services.journal.flush(10)
    record = journal.find_job(ops.services.store, ids[0])
    assert record is not None
    assert (record.state, record.run) == (JobState.QUEUED, 1)
    (told,) = actions.page(ops.services).actions
    assert (told.id, told.by, told.action, told.count) == (action.id, "ann", "replay", 30)
    assert (told.target, told.why, told.outcome) == (
        "dead letters with task=mail.send",
        "the partner is back",
        "done",
    )


def test_portions_keep_to_the_rate_and_any_worker_takes_the_next(ops: Ops) -> None:
    letters(ops.services.store, 25)
    action = begin(ops, "discard", rate=10)
    first, second = runner(ops.services, "one@test"), runner(ops.services, "two@test")
    before = utcnow()
    assert first.turn() == 0.0
    found = bulk.find(ops.services, action.id)
    assert (found.acted, found.worker, found.state) == (10, "one@test", "running")
    assert timedelta(seconds=0.9) < found.due_at - before < timedelta(seconds=1.5)
    with ops.services.store.begin() as connection:
        connection.execute(update(table).values(due_at=utcnow() + timedelta(seconds=3)))
    assert 0 < first.turn() <= 3
    assert 0 < second.turn() <= 3
    due_now(ops, action.id)
    assert second.turn() == 0.0
    assert bulk.find(ops.services, action.id).worker == "two@test"
    due_now(ops, action.id)
    first.turn()
    assert (bulk.find(ops.services, action.id).acted, statuses(ops.services.store)) == (25, {"discarded": 25})


def test_two_actions_take_turns(ops: Ops) -> None:
    letters(ops.services.store, 6)
    slow = begin(ops, "replay", LetterFilters(task="mail.send"), rate=1 / 3600)
    letters(ops.services.store, 6, task="mail.other")
    fast = begin(ops, "discard", LetterFilters(task="mail.other"))
    drive(runner(ops.services))
    assert (bulk.find(ops.services, slow.id).acted, bulk.find(ops.services, fast.id).acted) == (1, 6)
    assert [each.id for each in bulk.latest(ops.services, only_open=True)] == [slow.id]


def test_a_worker_that_was_overtaken_changes_nothing(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    letters(ops.services.store, 10)
    action = begin(ops, "replay")
    late, other = runner(ops.services, "late@test"), runner(ops.services, "other@test")
    following = portions.following

    def frozen(*args: Any) -> Any:
        """The late worker has read its letters; meanwhile its lease ends, and the other one replays them."""
        monkeypatch.undo()
        found = following(*args)
        assert 10 < other.turn() < 20  # the claim counts, until its lease ends
        with ops.services.store.begin() as connection:
            connection.execute(update(table).values(claimed_at=utcnow() - rows.LEASE - timedelta(seconds=1)))
        assert other.turn() == 0.0
        return found

    monkeypatch.setattr(portions, "following", frozen)
    late.turn()
    assert statuses(ops.services.store) == {"replayed": 10}
    assert ready(ops) == 10
    found = bulk.find(ops.services, action.id)
    assert (found.acted, found.skipped, found.worker) == (10, 0, "other@test")


def test_a_cancelled_action_stops_and_says_how_far_it_was(ops: Ops) -> None:
    letters(ops.services.store, 20)
    action = begin(ops, "discard", rate=5)
    work = runner(ops.services)
    work.turn()
    ended = bulk.cancel(ops.services, action.id)
    assert (ended.state, ended.acted) == ("cancelled", 5)
    due_now(ops, action.id)
    assert work.turn() > 0
    assert statuses(ops.services.store) == {"discarded": 5, "waiting": 15}
    (told,) = actions.page(ops.services).actions
    assert (told.outcome, told.count) == ("cancelled", 5)
    with pytest.raises(BulkActionEnded, match="is cancelled"):
        bulk.cancel(ops.services, action.id)
    with pytest.raises(BulkActionNotFound, match="no bulk action"):
        bulk.cancel(ops.services, "ffffffff")


def test_what_somebody_else_did_meanwhile_is_skipped(ops: Ops) -> None:
    letters(ops.services.store, 4)
    action = begin(ops, "replay")
    with ops.services.store.begin() as connection:
        first = select(letters_table.c.id).order_by(letters_table.c.at).limit(1).scalar_subquery()
        being = {"status": "replaying", "status_at": utcnow(), "claimed_by": "somebody"}
        connection.execute(update(letters_table).where(letters_table.c.id == first).values(being))
    work = runner(ops.services)
    assert work.turn() == 0.0
    assert bulk.find(ops.services, action.id).state == "running"  # it waits for the letter
    assert statuses(ops.services.store) == {"replaying": 1, "waiting": 3}
    with ops.services.store.begin() as connection:
        connection.execute(
            update(letters_table).where(letters_table.c.status == "replaying").values(status="replayed")
        )
    due_now(ops, action.id)
    drive(work)
    assert bulk.find(ops.services, action.id).acted == 3
    assert ready(ops) == 3


def test_unique_jobs_need_their_locks_and_no_jobs_are_told(ops: Ops) -> None:
    letters(ops.services.store, 3, unique=True)
    with ops.services.store.begin() as connection:
        last = select(letters_table.c.id).order_by(letters_table.c.at.desc()).limit(1).scalar_subquery()
        connection.execute(
            update(letters_table).where(letters_table.c.id == last).values(reason="undecodable")
        )
    action = begin(ops, "replay")
    drive(runner(ops.services))
    found = bulk.find(ops.services, action.id)
    assert (found.acted, found.skipped) == (2, 1)
    assert "would only die again" in next(iter(found.reasons))
    assert len(ops.services.locks.held(10)) == 2
    assert ready(ops) == 2


def test_the_broker_and_the_database_may_go_away(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    letters(ops.services.store, 5)
    action = begin(ops, "replay")
    work = runner(ops.services)

    def away(*_: Any, **__: Any) -> Any:
        raise BrokerUnavailable("redis://:secret@broker is away")

    with monkeypatch.context() as patch:
        patch.setattr(ops.services.broker, "health", away)
        work.turn()
        found = bulk.find(ops.services, action.id)
        assert (found.acted, found.state) == (0, "running")
        assert "is away" in (found.error or "")
        assert "secret" not in (found.error or "")
        assert statuses(ops.services.store) == {"waiting": 5}
    with monkeypatch.context() as patch:
        due_now(ops, action.id)

        def gone(*_: Any, **__: Any) -> bool:
            raise DatabaseUnavailable("away")

        patch.setattr(rows, "advance", gone)  # at the last moment: all is rolled back
        with pytest.raises(DatabaseUnavailable):
            work.turn()
        assert statuses(ops.services.store) == {"waiting": 5}
        assert (ready(ops), in_outbox(ops)) == (0, 0)
    drive(work)  # its own claim does not keep it waiting
    found = bulk.find(ops.services, action.id)
    assert (found.state, found.acted, found.error) == ("done", 5, None)
    assert ready(ops) == 5


def test_a_relay_publishes_what_a_dying_worker_left(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    letters(ops.services.store, 5)
    action = begin(ops, "replay")
    work = runner(ops.services)
    monkeypatch.setattr(work._relay, "publish", lambda _: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        work.turn()
    assert bulk.find(ops.services, action.id).acted == 5
    assert (ready(ops), in_outbox(ops)) == (0, 5)


def test_a_portion_that_always_fails_ends_the_action(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    letters(ops.services.store, 5)
    action = begin(ops, "discard")
    work = runner(ops.services)

    def broken(_: Any) -> None:
        raise ValueError("what is this?")

    monkeypatch.setattr(bulk_letters, "carry_out", broken)
    for _ in range(runners.MOST_FAILURES):
        due_now(ops, action.id)
        work.turn()
    found = bulk.find(ops.services, action.id)
    assert (found.state, found.error) == ("failed", "ValueError: what is this?")
    (told,) = actions.page(ops.services).actions
    assert (told.outcome, told.error) == ("failed", "ValueError: what is this?")


def test_an_action_of_a_newer_version_is_left_to_it(ops: Ops) -> None:
    letters(ops.services.store, 5)
    action = begin(ops, "discard")
    with ops.services.store.begin() as connection:
        connection.execute(update(table).values(filters={"task": "mail.send", "weather": "fine"}))
    runner(ops.services).turn()
    found = bulk.find(ops.services, action.id)
    assert (found.state, found.acted) == ("running", 0)
    assert "does not know the conditions weather" in (found.error or "")
    assert statuses(ops.services.store) == {"waiting": 5}


def test_jobs_are_cancelled_wherever_they_are(ops: Ops) -> None:
    for number in range(30):
        ops.send.delay(number)
    ops.send.apply_async((99,), countdown=3600)
    ops.services.journal.flush(10)
    planned = bulk.plan(ops.services, "cancel", JobFilters(task="mail.*"))
    later = ops.send.delay(100)
    ops.services.journal.flush(10)
    assert planned.total == 31
    action = bulk.start(ops.services, planned, by=ANN, rate=10)
    work = runner(ops.services)
    for _ in range(4):
        due_now(ops, action.id)
        work.turn()
    found = bulk.find(ops.services, action.id)
    assert (found.state, found.acted) == ("done", 31)
    record = journal.find_job(ops.services.store, later.id)
    assert record is not None
    assert record.state is JobState.QUEUED
    if ops.services.broker.waiting_jobs() is not None:
        assert ready(ops) == 1
    else:
        assert ops.services.orders.count_tombstones() == 31


def test_delayed_jobs_run_now_where_the_broker_lists_them(ops: Ops) -> None:
    for number in range(12):
        ops.send.apply_async((number,), countdown=3600)
    ops.send.delay(1)
    ops.services.journal.flush(10)
    if not ops.services.broker.capabilities.lists_delayed:
        with pytest.raises(Unsupported, match="one by one"):
            bulk.plan(ops.services, "run", JobFilters())
        return
    planned = bulk.plan(ops.services, "run", JobFilters())
    assert planned.total == 12
    action = bulk.start(ops.services, planned, by=ANN, rate=10_000)
    drive(runner(ops.services))
    assert bulk.find(ops.services, action.id).acted == 12
    assert ready(ops) == 13


def test_running_some_delayed_jobs_does_not_walk_through_all_that_are_ready(
    valkey: Valkey, tmp_path: Path
) -> None:
    with opened(tmp_path, valkey.fresh_url()) as ops:
        for number in range(3):
            ops.send.apply_async((number,), countdown=3600)
        for number in range(60):
            ops.send.delay(number)
        retried = ops.send.apply_async((9,), countdown=7200).id
        ops.flush()
        planned = bulk.plan(ops.services, "run", JobFilters())
        assert planned.total == 4
        later = ops.send.apply_async((9,), countdown=1800).id
        action = bulk.start(ops.services, planned, by=ANN, rate=5)
        with ops.services.store.begin() as connection:  # one has begun since, failed, and waits for its retry
            now = {"started_at": utcnow() + timedelta(seconds=1), "state": "retrying"}
            connection.execute(update(jobs).where(jobs.c.id == retried).values(now))
        ops.flush()
        runner(ops.services).turn()
        done = bulk.find(ops.services, action.id)
        assert (done.state, done.acted, done.skipped) == ("done", 3, 0)
        left = {job["job_id"] for job in ops.json("delayed", "list")}
        assert left == {later, retried}


def test_a_cancellation_that_waits_for_workers_says_so(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_nightshift.operations.bulk.jobs.MOST_TOMBSTONES", 40)
    stones = [tombstone(f"gone-{number}", utcnow(), None, kill=False, by="ann") for number in range(35)]
    ops.services.orders.cancel(stones)
    for number in range(10):
        ops.send.delay(number)
    ops.flush()
    action = bulk.start(ops.services, bulk.plan(ops.services, "cancel", JobFilters()), by=ANN, rate=10)
    work = runner(ops.services)
    work.turn()
    found = bulk.find(ops.services, action.id)
    assert (found.state, found.acted) == ("running", 0)
    assert "workers have not met 35 cancelled jobs yet" in (found.error or "")
    ops.services.orders.remove_tombstones(stones)
    due_now(ops, action.id)
    work.turn()
    found = bulk.find(ops.services, action.id)
    assert (found.acted, found.error) == (10, None)


@pytest.mark.parametrize("history", ["failures", "off"])
def test_delayed_jobs_run_now_without_rows_in_the_history(
    valkey: Valkey, tmp_path: Path, history: str
) -> None:
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_HISTORY=history) as ops:
        for number in range(12):
            ops.send.apply_async((number,), countdown=3600)
        elsewhere = ops.send.apply_async((1,), countdown=3600, queue="elsewhere").id
        planned = bulk.plan(ops.services, "run", JobFilters(queue="mail"))
        assert planned.total == 12
        later = ops.send.apply_async((1,), countdown=3600).id
        action = bulk.start(ops.services, planned, by=ANN, rate=10_000)
        drive(runner(ops.services))
        done = bulk.find(ops.services, action.id)
        assert (done.state, done.acted, done.skipped) == ("done", 12, 0)
        assert ready(ops) == 12
        assert [job["job_id"] for job in ops.json("delayed", "list")] == [later]
        assert bulk.plan(ops.services, "run", JobFilters(queue="elsewhere")).total == 1
        assert bulk.plan(ops.services, "run", JobFilters(task="no.such")).total == 0
        assert ops.services.broker.delayed_jobs().find("elsewhere", {elsewhere: None})  # type: ignore[union-attr]


def test_delayed_jobs_that_come_back_as_retries_run_now_only_once(valkey: Valkey, tmp_path: Path) -> None:
    """Else each portion would run the retries of the one before, without their backoff."""
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_HISTORY="off") as ops:
        ids = [ops.send.apply_async((number,), countdown=3600 + number).id for number in range(12)]
        planned = bulk.plan(ops.services, "run", JobFilters(queue="mail"))
        action = bulk.start(ops.services, planned, by=ANN, rate=5)
        work, hold = runner(ops.services), ops.services.broker.delayed_jobs()
        assert hold is not None
        assert work.turn() == 0.0
        first = {job["id"] for job in ops.waiting()}
        assert first == set(ids[:5])
        for headers in ops.waiting():  # each attempt fails, and its retry is the soonest of the delayed jobs
            began = Attempt(1, utcnow().isoformat(), "w", 0.1, "OSError", "no")
            later = utcnow() + timedelta(seconds=60)
            retry = ops.message(headers["id"])
            retry.headers.update(next_attempt(headers, began, due=later))
            ops.services.broker.publish(retry, "mail", due=later)
        with Redis.from_url(ops.services.settings.broker_url) as client:
            client.delete("mail")
        for expected in (ids[5:10], ids[10:]):
            due_now(ops, action.id)
            assert work.turn() == 0.0
            assert {job["id"] for job in ops.waiting()} - set(ids[:5]) >= set(expected)
        done = bulk.find(ops.services, action.id)
        assert (done.state, done.acted, done.skipped) == ("done", 12, 0)
        assert {job["id"] for job in ops.waiting()} == set(ids[5:])
        assert {job.job_id for job in hold.soonest("mail", 20)} == first


def test_mistakes_are_named(ops: Ops) -> None:
    def refused(said: str, action: str, filters: Any, **options: Any) -> None:
        with pytest.raises(ConfigurationError, match=said):
            bulk.plan(ops.services, action, filters, options)

    refused("use one of replay, discard, cancel, run", "explode", LetterFilters())
    refused("replay acts on dead letters", "replay", JobFilters())
    refused("cancel acts on jobs", "cancel", LetterFilters())
    refused("discard knows none", "discard", LetterFilters(), force=True)
    refused("cancel acts on jobs that are queued, running, retrying", "cancel", JobFilters(state="dead"))
    planned = bulk.plan(ops.services, "replay", LetterFilters())
    for rate in (0.0, -1.0, 1e9):
        with pytest.raises(ConfigurationError, match="rate"):
            bulk.start(ops.services, planned, by=ANN, rate=rate)
    nothing = bulk.start(ops.services, planned, by=ANN)
    drive(runner(ops.services))
    assert bulk.find(ops.services, nothing.id).state == "done"


def test_the_commands(ops: Ops) -> None:
    letters(ops.services.store, 12)
    assert "would replay 12 dead letters" in ops.ok("dead", "replay", "--all", "--bulk", "--dry-run")
    assert ops.run("dead", "replay", "--all", "--bulk").exit_code == 1  # no terminal to ask at
    assert ops.run("dead", "replay", "--all", "--bulk", "--limit", "3").exit_code == 2
    begun = ops.ok("dead", "replay", "--all", "--bulk", "--yes", "--rate", "5/s", "--why", "because").strip()
    (listed,) = ops.json("bulk", "list")
    assert (listed["id"], listed["rate"], listed["why"], listed["total"]) == (begun, 5.0, "because", 12)
    runner(ops.services).turn()
    shown = ops.ok("bulk", "show", begun[-8:])
    assert "replay all dead letters" in shown
    assert "5 of 12" in shown
    assert "replay" in ops.ok("bulk", "list", "--open")
    assert "cancelled; 5 of 12" in ops.ok("bulk", "cancel", begun, "--why", "enough")
    assert ops.ok("bulk", "list", "--open") == "No bulk action is open.\n"
    again = ops.run("bulk", "cancel", begun)
    assert again.exit_code == 1
    assert "has ended before: it is cancelled" in again.stderr
    assert [row["action"] for row in ops.json("audit")["actions"]] == ["cancel", "cancel", "replay"]
    ops.ok("dead", "discard", "--task", "mail.send", "--bulk", "--yes")
    drive(runner(ops.services))
    assert statuses(ops.services.store) == {"replayed": 5, "discarded": 7}
    told = ops.json("cancel", "--queue", "mail", "--bulk", "--yes")
    assert (told["total"], told["bulk"]["filters"]) == (5, {"queue": "mail"})
    assert ops.run("cancel", "x", "--bulk").exit_code == 2
    assert ops.run("delayed", "run-now", "--bulk").exit_code == 2
    assert ops.run("delayed", "run-now").exit_code == 2
