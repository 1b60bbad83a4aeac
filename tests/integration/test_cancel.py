"""``flask jobs cancel`` wherever the job is, on both brokers and both databases, with real workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from celery import chord, states
from sqlalchemy import delete, select, update

import cancelapp
from cancel_place import PAIRS, Place, Places
from cancelapp import create_app, jobs
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import DatabaseUnavailable, JobEnded, JobNotFound, Unsupported
from flask_nightshift.operations import cancelling, recovery
from flask_nightshift.operations.cancelling import Unfinished
from flask_nightshift.store.tables import jobs as job_rows
from flask_nightshift.store.tables import outbox
from flask_nightshift.store.tables import workers as worker_rows
from servers import free_port


@pytest.fixture(params=PAIRS, scope="module")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    with closing(Places(request, tmp_path_factory)) as made:
        yield made


@pytest.fixture
def place(places: Places, request: pytest.FixtureRequest) -> Place:
    return places.of(request.node)


def errbacks(place: Place, job_id: str) -> list[str]:
    """Other apps of this process may note the signals of a job, too."""
    return [event for event in place.system.events(job_id) if event.startswith("errback")]


def test_a_job_that_waits_does_not_run(place: Place) -> None:
    """It has no worker when it is cancelled: tombstones outlive restarts, because none was there to hear of them."""
    alone = cancelapp.work.s("alone").apply_async(link_error=cancelapp.heard.s())
    delayed = cancelapp.work.apply_async(("delayed",), countdown=2)
    kept = cancelapp.keep.delay("kept")
    whole = chord([cancelapp.work.s("part"), cancelapp.work.s("cancelled-part")])(
        cancelapp.work.si("body").on_error(cancelapp.heard.s())
    )
    part = whole.parent.results[1]
    unknown = jobs.celery.send_task("cancel.unheard_of", ["unknown"], queue="celery")
    only = cancelapp.only.delay("only")
    place.known(alone, delayed, kept, part, unknown, only)

    for job in (alone, delayed, kept, part, unknown, only):
        done = place.cancel(job.id[-8:])
        assert (done.job_id, done.removed, done.notes) == (job.id, place.removes, ()), jobs.job(job.id)
    again = cancelapp.only.delay("only")
    assert again.id != only.id, "the lock of a cancelled job is not released"
    with place.services.outboxes[0].read() as connection:
        query = select(outbox.c.state).where(outbox.c.job_id == kept.id)
        assert connection.execute(query).scalar() == "cancelled"
    assert recovery.recover(place.services, dry_run=True).jobs == 0
    if place.removes:
        for job in (alone, delayed, kept, part, unknown, only):
            assert place.state(job.id) == "cancelled"
            with pytest.raises(JobEnded, match="cancelled already"):
                place.cancel(job.id)
        assert place.services.orders.count_tombstones() == 0

    worker = place.worker()
    for job in (alone, delayed, kept, part, unknown, only):
        place.until_state(job.id, "cancelled")
        assert jobs.job(job.id).attempts == 0
    for marker in ("alone", "delayed", "kept", "cancelled-part"):
        assert place.system.events(marker) == []
    place.begins("only")
    place.system.until(lambda: alone.state == states.REVOKED, 20, "its result is unknown")
    place.system.until(lambda: errbacks(place, alone.id) == ["errback TaskRevokedError"], 20, "no errback")
    place.system.until(whole.ready, 20, "the chord waits")
    assert type(whole.result).__name__ == "ChordError"
    place.system.until(
        lambda: place.services.orders.count_tombstones() == 0, 20, "its tombstone stays although it has ended"
    )
    if not place.removes:
        assert {line["job_id"] for line in worker.lines("job.cancelled")} >= {alone.id, delayed.id, kept.id}


def test_a_running_job_stops(place: Place) -> None:
    place.worker()
    polite, careless = cancelapp.loop.delay("polite"), cancelapp.loop.delay("careless", catches=True)
    for marker in ("polite", "careless"):
        place.begins(marker)
    waiting = cancelapp.work.delay("prefetched")
    for job in (polite, careless):
        done = place.cancel(job.id)
        assert (done.removed, done.kill) == (False, False)
    place.system.until(lambda: place.system.events("polite")[-1] == "stopped", 2.5, "it is not told in 2 s")
    for job, marker in ((polite, "polite"), (careless, "careless")):
        place.until_state(job.id, "cancelled", 5)
        assert place.system.events(marker) == ["begun", "stopped"]
        record = jobs.job(job.id)
        assert (record.attempts, record.history[0].outcome) == (1, "cancelled")
    place.system.until(lambda: polite.state == states.REVOKED, 10, "its result is unknown")
    place.begins("prefetched")
    place.until_state(waiting.id, "succeeded")

    failing, hanging = cancelapp.fail_when_asked.delay("asked"), cancelapp.hang.delay("hanging")
    for marker in ("asked", "hanging"):
        place.begins(marker)
    behind = cancelapp.work.delay("behind")
    place.known(behind)
    place.cancel(behind.id)
    place.cancel(failing.id)
    place.until_state(failing.id, "cancelled", 10)  # and not retrying
    assert place.system.events("asked") == ["begun"]
    place.until_state(behind.id, "cancelled", 10)
    assert not place.cancel(hanging.id).kill
    assert place.cancel(hanging.id, kill=True).kill
    place.until_state(hanging.id, "cancelled", 10)
    (line,) = place.worker().lines("job.cancelled", job_id=hanging.id)
    assert "terminated" in line["why"]
    assert "a test" in line["why"]

    retrying = cancelapp.fail.delay("retrying")
    place.until_state(retrying.id, "retrying")
    assert place.cancel(retrying.id).removed == place.removes
    if place.removes:
        assert place.state(retrying.id) == "cancelled"
    left = 0 if place.removes else 1  # the retry waits for ten minutes in the broker
    place.system.until(lambda: place.services.orders.count_tombstones() == left, 10, "others stay")


def test_a_bulk_action_kills_what_runs(place: Place) -> None:
    place.worker()
    hanging = cancelapp.hang.delay("bulk")
    place.begins("bulk")
    place.until_state(hanging.id, "running")
    place.until_reported(hanging.id)
    told = place.command("--task", cancelapp.hang.name, "--kill", "--bulk", "--yes", "--json")
    started = json.loads(told.stdout)
    assert (started["total"], started["bulk"]["options"]) == (1, {"kill": True})
    place.until_state(hanging.id, "cancelled", 40)
    (line,) = place.worker().lines("job.cancelled", job_id=hanging.id)
    assert "terminated" in line["why"]


def test_the_history_knows_who_runs_a_job_before_the_worker_s_next_report(place: Place) -> None:
    place.worker()
    hanging = cancelapp.hang.delay("just begun")
    place.until_state(hanging.id, "running")
    with place.services.store.begin() as connection:
        connection.execute(update(worker_rows).values(busy=[]))  # as it was told before the job began
    done = place.cancel(hanging.id)
    assert done.worker is not None, "no worker is known to run it"


def test_what_has_ended_is_told_and_a_filter_asks_first(place: Place) -> None:
    place.worker()
    done, dead = cancelapp.work.delay("done"), cancelapp.die.delay("dead")
    place.until_state(done.id, "succeeded")
    place.until_state(dead.id, "dead")
    for words, says in (
        ((done.id,), "it has succeeded"),
        ((dead.id,), "dead discard"),
        (("ffff",), "no job"),
    ):
        told = place.command(*words)
        assert told.exit_code == 1, told.output
        assert says in told.stderr
    assert "history does not know it" in place.command("f" * 40).stderr
    hanging = cancelapp.hang.delay("unrecorded")
    place.begins("unrecorded")
    place.system.until(
        lambda: hanging.id in cancelling.busy_workers(place.services), 10, "its worker reports it"
    )
    with place.services.store.begin() as connection:
        connection.execute(delete(job_rows).where(job_rows.c.id == hanging.id))
    told = place.command(hanging.id, "--kill")
    assert "which kills it now" in told.output
    assert "history does not know it" not in told.stderr, "it is seen on a worker"
    assert place.command().exit_code == 2
    assert place.command(done.id, "--task", "x").exit_code == 2
    with pytest.raises(JobNotFound):
        place.cancel("no-such-job")

    late = [cancelapp.work.apply_async((f"late {n}",), countdown=600) for n in range(3)]
    place.known(*late)
    wanted = ["--task", "cancel.work", "--state", "queued"]
    assert "3 jobs would be cancelled" in place.command(*wanted, "--dry-run").stdout
    refused = place.command(*wanted)
    assert refused.exit_code == 1
    assert "Cancel 3 jobs?" in refused.stderr
    told = json.loads(place.command(*wanted, "--yes", "--json").stdout)
    count = 3 if place.removes else 0
    assert told == {"jobs": 3, "removed": count, "told": 3 - count, "left": 0, "notes": [], "dry_run": False}
    assert not cancelling.matching(place.services, Unfinished(before=utcnow().replace(year=2020)))
    if place.removes:
        assert not cancelling.matching(place.services, Unfinished(task="cancel.work"))
    totals = {row.outcome for row in _totals(place)}
    assert "cancelled" in totals


def _totals(place: Place) -> list[Any]:
    from flask_nightshift import journal

    return journal.totals(place.services.store)


def test_other_pools_stop_a_job_too_and_refuse_to_kill_it(place: Place) -> None:
    worker = place.system.worker(
        "--pool", "threads", "--concurrency", "2", "--queues", "threads", name="threads"
    )
    first = cancelapp.loop.apply_async(("in-a-thread",), queue="threads")
    place.begins("in-a-thread")
    place.system.until(lambda: place.state(first.id) == "running", 10, "it is unknown")
    place.until_reported(first.id)
    with pytest.raises(Unsupported, match="pool threads"):
        place.cancel(first.id, kill=True)
    assert place.cancel(first.id).worker == "threads@test"
    place.until_state(first.id, "cancelled", 10)
    assert worker.stop() == 0


def test_with_the_database_away_it_says_what_was_done(place: Place) -> None:
    place.worker()
    names = ("INSTANCE", "NIGHTSHIFT_BROKER_URL")
    away = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/away"
    config = {name: place.system.env[name] for name in names}
    other = create_app(**config, NIGHTSHIFT_DATABASE_URL=away)
    running_one = cancelapp.loop.delay("without-a-database")
    place.begins("without-a-database")
    services = other.extensions["nightshift"]
    with other.app_context():
        with pytest.raises(DatabaseUnavailable) as short:
            cancelling.cancel(services, running_one.id[:8], by="a test")
        assert "whole id" in "".join(short.value.__notes__)
        if place.removes:
            done = cancelling.cancel(services, running_one.id, by="a test")
            assert "history was not asked" in " ".join(done.notes)
        else:
            with pytest.raises(DatabaseUnavailable) as told:
                cancelling.cancel(services, running_one.id, by="a test")
            assert "run the command again" in "".join(told.value.__notes__)
    jobs.close(other)
    if not place.removes:
        place.cancel(running_one.id)
    place.until_state(running_one.id, "cancelled", 10)
