"""Content that a database refuses is no outage: it is truncated, or set aside with its bytes.

And an outage is no refusal: a temporary error costs no total and no record.
"""

from __future__ import annotations

import base64
import json
import resource
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select

from flask_nightshift import dead_letters, journal
from flask_nightshift.brokers.base import PendingDeadLetter
from flask_nightshift.dead_letters import Archiver, archiver
from flask_nightshift.domain.events import JobDied, JobEnqueued, JobRetrying, JobStarted, JobSucceeded
from flask_nightshift.domain.job import DeadLetter, Failure, JobRef, JobState, Outcome, Reason, utcnow
from flask_nightshift.message import burial, envelope
from flask_nightshift.message import headers as message_headers
from flask_nightshift.store import Store, refused, tables
from flask_nightshift.store.types import MAX_KEY, MAX_TEXT
from opsapp import opened
from refusing import refuse, role, without_rights
from servers import Postgres, Server, Valkey, wait_for

LONG = "mail." + "é" * 6_000
"""A name that PostgreSQL's indexes do not take: 54000."""
HOSTILE = f"\x00\ud800{LONG}"


@pytest.fixture
def writer(store: Store) -> Iterator[journal.Journal]:
    made = journal.Journal(store, worker="w")
    yield made
    made.close()


def ran(writer: journal.Journal, job_id: str, task: str = "t", queue: str = "q") -> None:
    ref = JobRef(job_id, task, queue, 1)
    writer(JobStarted(ref, utcnow(), "w", 0.2))
    writer(JobSucceeded(ref, utcnow(), "w", 0.3))


def counted(store: Store) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in journal.totals(store):
        counts[row.task] += row.count
    return dict(counts)


def rows(store: Store, table: Any) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def set_aside(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(tables.refused).order_by(tables.refused.c.at)))


@dataclass
class Box:
    """A dead-letter queue in memory with a broker's interface."""

    letters: dict[str, DeadLetter] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)
    """The bytes of each take."""
    parked: list[str] = field(default_factory=list)
    """Jobs in ``burial.REFUSED_QUEUE``."""

    def publish(self, envelope: envelope.Envelope, queue: str) -> None:
        assert queue == burial.REFUSED_QUEUE
        self.parked.append(envelope.headers["id"])

    def take_dead_letters(self, limit: int = 100, max_bytes: int = 4_000_000) -> list[PendingDeadLetter]:
        found: list[PendingDeadLetter] = []
        size = 0
        for letter in list(self.letters.values())[:limit]:
            found.append(_Boxed(letter, self))
            size += len(letter.body)
            if size >= max_bytes:
                break
        self.taken.append(size)
        return found


@dataclass
class _Boxed:
    letter: DeadLetter
    box: Box

    def done(self) -> None:
        del self.box.letters[self.letter.id]


def letter(job_id: str, *, task: str = "t", body: bytes = b"[[1], {}, {}]", **headers: Any) -> DeadLetter:
    sent: dict[str, Any] = {"id": job_id, "task": task, **headers}
    message_headers.stamp(sent, queue="q", at=utcnow(), request_id=None)
    made = burial.buried(
        sent, reason=Reason.EXHAUSTED, failure=Failure("E", "no"), queue="q", worker="w", at=utcnow()
    )
    return burial.dead_letter(body, made, {}, "application/json", "utf-8")


def archive(store: Store, *letters: DeadLetter) -> Box:
    box = Box({one.id: one for one in letters})
    Archiver(box, store).run_once()  # type: ignore[arg-type]
    return box


class TestJournal:
    def test_jobs_with_any_name_and_text_are_stored_and_found(
        self, store: Store, writer: journal.Journal
    ) -> None:
        before = len(HOSTILE)
        ran(writer, "before")
        ran(writer, HOSTILE, task=LONG, queue=HOSTILE)
        ran(writer, HOSTILE + "2", task=LONG + "2")  # differs only at its end
        now, ref = utcnow(), JobRef("retries", "t", "q", 2**40)
        failure = Failure("E" * 100_000, HOSTILE * 20, "F\x00" * 100_000)
        writer(JobEnqueued(ref, now, args=HOSTILE * 20, kwargs="\ud800"))
        writer(JobRetrying(ref, now, HOSTILE, 1.0, failure, now, 1.0, max_retries=2**80))
        writer(JobSucceeded(JobRef("big", "t", "q", 1), now, "w", 0.1, json.dumps("é" * 2_000_000)))
        ran(writer, "after")
        assert writer.flush(10)
        found = journal.find_job(store, HOSTILE)
        assert found is not None
        assert found.state is JobState.SUCCEEDED
        assert len(found.id.encode()) <= MAX_KEY < before
        assert journal.find_job(store, found.id) == found
        other = journal.find_job(store, HOSTILE + "2")
        assert other is not None
        assert other.id != found.id
        assert sum(counted(store).values()) == 6
        record = journal.find_job(store, "retries")
        assert record is not None
        assert record.error is not None
        assert all(len(part.encode()) <= MAX_TEXT for part in (record.args, *record.error.values()))  # type: ignore[union-attr]
        big = journal.find_job(store, "big")
        assert big is not None
        assert "too long for the history" in big.result
        assert set_aside(store) == []

    def test_a_refused_record_is_set_aside_and_takes_no_other_with_it(
        self, store: Store, writer: journal.Journal, caplog: pytest.LogCaptureFixture
    ) -> None:
        refuse(store, "nightshift_jobs", "task", "bad")
        for number in range(40):
            ran(writer, f"good{number}")
        ran(writer, "bad", task="bad")
        ran(writer, "last")
        assert writer.flush(20)
        assert rows(store, tables.jobs) == 41
        assert counted(store) == {"t": 41, "bad": 1}
        kept = set_aside(store)
        assert {(one.kind, one.about) for one in kept} == {(refused.RECORD, "bad")}
        assert b"JobSucceeded" in kept[-1].data
        assert "store.refused" in caplog.text

    def test_refused_totals_are_set_aside_and_the_others_count_once(
        self, store: Store, writer: journal.Journal
    ) -> None:
        refuse(store, "nightshift_totals", "task", "bad")
        for number in range(20):
            ran(writer, f"j{number}", task=f"t{number % 4}")
        ran(writer, "bad", task="bad")
        assert writer.flush(20)
        assert counted(store) == dict.fromkeys(("t0", "t1", "t2", "t3"), 5)
        assert rows(store, tables.jobs) == 21
        assert any(b"'bad'" in one.data for one in set_aside(store))


@pytest.mark.postgres
class TestOutage:
    def test_a_role_without_rights_for_a_while_loses_no_total(self, postgres: Postgres) -> None:
        owner = Store(postgres.fresh_url())
        owner.migrate()
        url = role(owner)
        store = Store(url.render_as_string(hide_password=False))
        writer = journal.Journal(store, worker="w")
        for number in range(20):
            ran(writer, f"before{number}")
        assert writer.flush(10)
        with without_rights(owner, url.username):
            for number in range(20):
                ran(writer, f"during{number}")
            assert not writer.flush(1)
            box = Box({"x": letter("dies")})
            with pytest.raises(Exception, match="permission denied"):
                Archiver(box, store).run_once()  # type: ignore[arg-type]
            assert box.letters
        for number in range(20):
            ran(writer, f"after{number}")
        assert writer.flush(20)
        writer.close()
        assert counted(owner) == {"t": 60}
        assert rows(owner, tables.jobs) == 60
        assert set_aside(owner) == []
        owner.close()
        store.close()


def test_a_full_disk_is_an_outage_and_nothing_is_lost(tmp_path: Any) -> None:
    store = Store(f"sqlite:///{tmp_path}/db.sqlite3")
    store.migrate()
    full = threading.Event()

    @event.listens_for(store.engine, "checkout")
    def bounded(connection: Any, record: Any, proxy: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0] if full.is_set() else 2**30
        connection.execute(f"PRAGMA max_page_count = {pages}")

    writer = journal.Journal(store, worker="w")
    full.set()
    for number in range(500):
        ran(writer, f"during{number}")
    assert not writer.flush(1)
    full.clear()
    assert writer.flush(20)
    writer.close()
    assert counted(store) == {"t": 500}
    assert set_aside(store) == []


class TestArchiver:
    def test_letters_with_any_content_are_stored(self, store: Store) -> None:
        deep: Any = "bottom"
        for _ in range(5_000):
            deep = [deep]
        nested = b"[[" + b"[" * 980 + b"]" * 980 + b"],{},{}]"
        box = archive(
            store,
            letter("deep", body=nested),
            letter("deeper", header=deep),
            letter(HOSTILE, task=LONG, argsrepr=HOSTILE * 50),
            letter("plain"),
        )
        assert box.letters == {}
        found = {one.letter.job_id: one for one in dead_letters.list_letters(store)}
        assert len(found) == 4
        assert found["deep"].letter.body == nested
        assert found["plain"].letter.headers["id"] == "plain"
        deeper = found["deeper"]
        assert "nested too deeply" in str(deeper.letter.headers)
        with store.read() as connection:
            query = select(func.length(tables.dead_letters.c.headers)).where(
                tables.dead_letters.c.id == deeper.letter.id
            )
            assert connection.execute(query).scalar_one() > 10_000  # all of it is there
        [hostile] = [one for one in found.values() if one.letter.task not in ("t", None)]
        assert hostile.letter.headers["id"] == HOSTILE  # a replay publishes the job under its own name
        assert hostile.letter.headers["task"] == LONG
        assert journal.find_job(store, HOSTILE) is not None

    def test_a_refused_letter_is_set_aside_whole_and_holds_up_no_other(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        refuse(store, "nightshift_dead_letters", "task", "bad")
        bad = [letter(f"bad{number}", task="bad", body=bytes(range(256))) for number in range(3)]
        good = [letter(f"good{number}") for number in range(150)]
        box = archive(store, *bad, *good)
        assert box.letters == {}
        assert dead_letters.count(store) == 150
        kept = {one.about: one for one in set_aside(store)}
        assert set(kept) == {one.id for one in bad}
        told = json.loads(kept[bad[0].id].data)
        assert base64.b64decode(told["body"]["value"]) == bytes(range(256))
        assert told["headers"]["id"] == "bad0"
        assert caplog.text.count("store.refused") == 3

    def test_a_letter_that_every_table_refuses_goes_to_another_queue(self, tmp_path: Any) -> None:
        store = Store(f"sqlite:///{tmp_path}/db.sqlite3")
        store.migrate()

        @event.listens_for(store.engine, "checkout")
        def small(connection: sqlite3.Connection, record: Any, proxy: Any) -> None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)

        big = [letter(f"big{number}", body=b"x" * 200_000) for number in range(30)]
        box = archive(store, *big, letter("small"))
        assert box.letters == {}
        assert sorted(box.parked) == sorted(f"big{number}" for number in range(30))
        assert dead_letters.count(store) == 1
        store.close()

    def test_large_letters_are_taken_a_few_at_a_time(self, store: Store) -> None:
        letters = [letter(f"j{number}", body=b"x" * 5_000_000) for number in range(12)]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        box = archive(store, *letters)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert box.letters == {}
        assert max(box.taken) <= archiver.MAX_BYTES + 5_000_000
        assert grown < 150_000  # kB
        assert dead_letters.count(store) == 12


@pytest.mark.postgres
def test_a_hundred_letters_are_archived_over_a_slow_line(postgres: Postgres) -> None:
    store = Store(postgres.fresh_url())
    store.migrate()
    asked = []

    @event.listens_for(store.engine, "before_cursor_execute")
    def slowly(*args: Any) -> None:
        asked.append(args[2])
        time.sleep(0.12)  # a round trip between two continents

    box = archive(store, *(letter(f"j{number}") for number in range(100)))
    assert box.letters == {}
    assert len(asked) < 12, "round trips, so less than 2 s of them"
    store.close()


@pytest.mark.parametrize("broker", ["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_each_broker_gives_no_more_bytes_than_asked_for_and_has_a_place_for_what_is_refused(
    broker: str, request: pytest.FixtureRequest
) -> None:
    from flask import Flask

    from flask_nightshift.brokers import connect
    from flask_nightshift.config import settings as config

    server: Server = request.getfixturevalue(broker)
    app = Flask("shop")
    app.config.update(NIGHTSHIFT_BROKER_URL=server.fresh_url(), NIGHTSHIFT_DATABASE_URL="sqlite:///x.db")
    made = connect(config.load(app), app)
    for number in range(6):
        big = letter(f"j{number}", body=bytes(1_000_000))
        made.publish(envelope.Envelope(big.body, big.headers), burial.DEAD_QUEUE)

    def take(**limits: int) -> list[str | None]:
        return [item.letter.job_id for item in made.take_dead_letters(**limits)]

    wait_for(lambda: take(limit=100, max_bytes=10**9) == [f"j{n}" for n in range(6)], 5, "not there")
    wait_for(lambda: take(limit=100, max_bytes=2_500_000) in (["j0", "j1"], ["j0", "j1", "j2"]), 5, "more")
    wait_for(lambda: take(limit=1, max_bytes=10**9) == ["j0"], 5, "more")
    made.publish(envelope.Envelope(b"too large for the database", {}), burial.REFUSED_QUEUE)
    wait_for(lambda: made.depths([burial.REFUSED_QUEUE])[0].ready == 1, 5, "not parked")
    made.close()


def test_names_that_no_worker_knew_count_as_one(store: Store, writer: journal.Journal) -> None:
    for number in range(50):
        ref = JobRef(f"j{number}", f"invented.{number}", "q", 1)
        writer(JobDied(ref, utcnow(), "w", None, Failure("NotRegistered"), Reason.UNKNOWN_TASK))
    writer.flush()
    burials = [{"reason": "delivery_limit", "queue": "q", "count": 1, "time": utcnow()}]
    for number in range(3):
        headers = {"id": f"k{number}", "task": f"invented.k{number}", "x-death": burials}
        dead = burial.dead_letter(b"[[],{},{}]", headers, {}, "application/json", "utf-8")
        dead_letters.archive(store, [dead], worker="w", known=lambda name: name == "mail.send")
    [row] = journal.totals(store)
    assert (row.task, row.outcome, row.count) == (journal.UNKNOWN, Outcome.DEAD, 53)


def test_a_tally_of_invented_names_stays_bounded() -> None:
    from flask_nightshift.journal.tally import MAX_CELLS, Tally

    tally, now = Tally(), utcnow()
    for number in range(3 * MAX_CELLS):
        tally.add(now, f"t{number}", "q", Outcome.SUCCEEDED, 1.0, None)
    rows = tally.rows("w")
    assert len(rows) < 5 * MAX_CELLS
    assert sum(row["count"] for row in rows) == 6 * MAX_CELLS


def test_the_doctor_reports_refused_records_and_long_progress_is_bounded(
    valkey: Valkey, tmp_path: Path
) -> None:
    with opened(tmp_path, valkey.fresh_url()) as ops:
        assert "refused" not in {one["check"] for one in json.loads(ops.run("doctor", "--json").stdout)}
        refused.set_aside(ops.services.store, refused.RECORD, "j", "w", ValueError("no"), b"its bytes")
        ops.services.broker.publish(envelope.Envelope(b"large", {}), burial.REFUSED_QUEUE)
        found = json.loads(ops.run("doctor", "--json").stdout)
        told = [one["message"] for one in found if one["check"] == "refused"]
        assert told[0].startswith("the database refused 1 ")
        assert "nightshift.refused" in told[1]
        said = ops.services.journal.progress(JobRef("j", "t", "q", 1))
        said.say(1, 2, HOSTILE * 100)
        wait_for(lambda: journal.find_job(ops.services.store, "j"), 10, "the report is written")
        record = journal.find_job(ops.services.store, "j")
        assert record is not None
        assert record.progress is not None
        assert len(record.progress["message"]) < 5_000
