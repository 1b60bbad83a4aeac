"""The journal's thread: many processes, a database that fails and comes back, and exact totals."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from children import fork, join
from flask_nightshift import journal
from flask_nightshift.domain.events import JobRetrying, JobStarted, JobSucceeded
from flask_nightshift.domain.job import Failure, JobRef, Outcome, utcnow
from flask_nightshift.errors import DatabaseUnavailable
from flask_nightshift.journal import recorder
from flask_nightshift.journal.tally import MAX_CELLS, Tally
from flask_nightshift.store import Store, lost_records, tables
from servers import Postgres, wait_for


def run_jobs(writer: journal.Journal, count: int, prefix: str = "j", wait: float | None = 0.2) -> None:
    """``count`` jobs that start and succeed, as events."""
    for number in range(count):
        ref = JobRef(f"{prefix}{number}", "t", "q", 1)
        writer(JobStarted(ref, utcnow(), "w", wait))
        writer(JobSucceeded(ref, utcnow(), "w", 0.3))


def jobs_written(store: Store) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.jobs)).scalar_one())


def counted(store: Store) -> dict[str, int]:
    return {row.outcome: row.count for row in journal.totals(store)}


def before_the_freeze(store: Store, postgres: Postgres) -> journal.Journal:
    """A journal that has written one job; its database is frozen now."""
    made = journal.Journal(store, worker="w")
    run_jobs(made, 1)
    assert made.flush()
    postgres.freeze()
    return made


@pytest.fixture
def writer(store: Store) -> Iterator[journal.Journal]:
    made = journal.Journal(store, worker="w")
    yield made
    made.close()


@pytest.fixture
def on_postgres(postgres: Postgres) -> Iterator[Store]:
    made = Store(postgres.fresh_url())
    made.migrate()
    yield made
    made.close()


class Flaky(Store):
    """A store whose connection breaks ``broken`` times after a commit, before its answer arrives."""

    broken = 0

    @contextmanager
    def begin(self, *, timeout: float = 5) -> Iterator[Connection]:
        with super().begin(timeout=timeout) as connection:
            yield connection
        if self.broken:
            self.broken -= 1
            raise DatabaseUnavailable("the connection broke")


class TestTotals:
    def test_runtime_and_wait_by_task_queue_and_outcome(self, store: Store, writer: journal.Journal) -> None:
        run_jobs(writer, 3)
        ref, now = JobRef("r", "t", "q", 1), utcnow()
        writer(JobRetrying(ref, now, "w", 4000.0, Failure("E"), now, 1.0, 5))
        writer.flush()
        retried, succeeded = sorted(journal.totals(store), key=lambda row: row.outcome)
        assert (succeeded.task, succeeded.queue, succeeded.outcome) == ("t", "q", Outcome.SUCCEEDED)
        assert succeeded.count == 3
        assert succeeded.runtime_sum == pytest.approx(0.9)
        assert succeeded.wait_sum == pytest.approx(0.6)
        assert succeeded.runtime_buckets[journal.BUCKETS.index(0.5)] == 3  # 0.25 < 0.3 <= 0.5
        assert succeeded.wait_buckets[journal.BUCKETS.index(0.25)] == 3
        assert sum(succeeded.runtime_buckets) == sum(succeeded.wait_buckets) == 3
        assert retried.runtime_buckets[-1] == 1  # more than the last bound
        assert sum(retried.wait_buckets) == 0  # nobody saw it start
        assert journal.cumulative(succeeded.runtime_buckets)[-3:] == [
            ("300.0", 3.0),
            ("1800.0", 3.0),
            ("+Inf", 3.0),
        ]

    def test_a_histogram_bound_is_inside_its_bucket(self) -> None:
        tally, now = Tally(), utcnow()
        tally.add(now, "t", "q", Outcome.SUCCEEDED, 0.05, None)
        assert tally.rows("w")[0]["runtime_to_50ms"] == 1

    def test_many_processes_and_restarts_count_exactly(self, store: Store) -> None:
        def work(name: str) -> None:
            # the same name in each generation: a worker that was restarted
            mine = journal.Journal(store, worker=name)
            run_jobs(mine, 200, prefix=name)
            mine.close(30)

        for _ in range(2):
            join(*(fork(lambda name=name: work(name)) for name in ("a", "b", "c", "d")))  # type: ignore[misc]
        assert counted(store) == {"succeeded": 1600}
        assert jobs_written(store) == 800

    def test_processes_that_write_the_same_jobs_do_not_deadlock(self, store: Store) -> None:
        def work() -> None:
            mine = journal.Journal(store)
            for _ in range(5):
                run_jobs(mine, 60)
                assert mine.flush(30)
            mine.close()

        join(*(fork(work) for _ in range(4)))
        assert counted(store) == {"succeeded": 1200}
        assert jobs_written(store) == 60

    def test_a_batch_with_an_unconfirmed_commit_counts_once(self, store: Store) -> None:
        flaky = Flaky(store._url.render_as_string(hide_password=False))
        writer = journal.Journal(flaky, worker="w")
        run_jobs(writer, 10)
        flaky.broken = 2
        assert writer.flush(30)
        run_jobs(writer, 5, prefix="next")
        assert writer.flush(30)
        writer.close()
        assert flaky.broken == 0
        assert counted(store) == {"succeeded": 15}
        flaky.close()

    def test_recent_ones_are_those_of_the_last_minutes(self, store: Store, writer: journal.Journal) -> None:
        old = utcnow() - timedelta(hours=2)
        ref = JobRef("old", "t", "q", 1)
        writer(JobSucceeded(ref, old, "w", 0.1))
        run_jobs(writer, 2)
        writer.flush()
        assert counted(store) == {"succeeded": 3}
        assert [row.count for row in journal.recent_totals(store, utcnow() - timedelta(minutes=5))] == [2]
        assert [row.count for row in journal.recent_totals(store, old)] == [3]

    def test_a_long_outage_is_counted_by_the_hour_and_nothing_is_lost(self) -> None:
        tally, then = Tally(), utcnow()
        minutes = MAX_CELLS + 10
        for minute in range(minutes):
            tally.add(then + timedelta(minutes=minute), "t", "q", Outcome.SUCCEEDED, 1.0, None)
        rows = tally.rows("w")
        assert len(rows) < 200
        assert sum(row["count"] for row in rows) == 2 * minutes  # once by time, once for all time


class TestAway:
    def test_postgresql_stops_and_history_catches_up(
        self, on_postgres: Store, postgres: Postgres, caplog: pytest.LogCaptureFixture
    ) -> None:
        writer = journal.Journal(on_postgres, worker="w")
        run_jobs(writer, 50, prefix="before")
        assert writer.flush()
        postgres.stop()
        run_jobs(writer, 700, prefix="during")
        assert not writer.flush(1.5)
        postgres.start()
        run_jobs(writer, 50, prefix="after")
        assert writer.flush(20)
        writer.close()
        assert jobs_written(on_postgres) == 800
        assert counted(on_postgres) == {"succeeded": 800}
        told = [record.message for record in caplog.records if record.name == "flask_nightshift.journal"]
        assert told == ["journal.paused", "journal.resumed"]

    def test_postgresql_is_killed_under_load_and_totals_stay_exact(
        self, on_postgres: Store, postgres: Postgres
    ) -> None:
        writer = journal.Journal(on_postgres, worker="w")
        stop, sent = threading.Event(), itertools.count()

        def load() -> None:
            while not stop.wait(0.02):
                run_jobs(writer, 20, prefix=f"{next(sent)}-")

        thread = threading.Thread(target=load)
        thread.start()
        for _ in range(3):
            time.sleep(0.3)  # of work
            postgres.kill()
            postgres.start()  # in this thread: the server dies with the thread that started it
        stop.set()
        thread.join()
        assert writer.flush(30)
        writer.close()
        assert counted(on_postgres) == {"succeeded": 20 * next(sent)}

    def test_a_frozen_database_delays_no_job(self, on_postgres: Store, postgres: Postgres) -> None:
        writer = before_the_freeze(on_postgres, postgres)
        started = time.monotonic()
        run_jobs(writer, 500, prefix="frozen")
        assert time.monotonic() - started < 1
        postgres.thaw()
        assert writer.flush(20)
        writer.close()
        assert counted(on_postgres) == {"succeeded": 501}

    def test_a_frozen_database_is_waited_for_once(
        self,
        on_postgres: Store,
        postgres: Postgres,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(recorder, "MAX_RECORDS", 20)
        writer = before_the_freeze(on_postgres, postgres)
        started = time.monotonic()
        run_jobs(writer, 500, prefix="frozen")
        assert recorder.ROOM_TIMEOUT <= time.monotonic() - started < 2 * recorder.ROOM_TIMEOUT
        postgres.thaw()
        assert writer.flush(20)
        writer.close()
        assert counted(on_postgres) == {"succeeded": 501}
        assert jobs_written(on_postgres) < 100
        [paused] = [record for record in caplog.records if record.message == "journal.paused"]
        [resumed] = [record for record in caplog.records if record.message == "journal.resumed"]
        assert paused.__dict__["error"] == "too slow: 20 records have waited for 1 s"
        assert resumed.__dict__["dropped"] > 900

    def test_a_sqlite_directory_is_moved_and_moved_back(self, tmp_path: Path) -> None:
        store = Store(f"sqlite:///{tmp_path}/history/db.sqlite3")
        store.migrate()
        writer = journal.Journal(store, worker="w")
        (tmp_path / "history").rename(tmp_path / "elsewhere")
        run_jobs(writer, 10)
        assert not writer.flush(0.5)
        (tmp_path / "elsewhere").rename(tmp_path / "history")
        assert writer.flush(20)
        writer.close()
        assert counted(store) == {"succeeded": 10}

    def test_it_writes_by_itself_once_the_tables_are_there(self, database_url: str) -> None:
        store = Store(database_url)
        writer = journal.Journal(store, worker="w")
        run_jobs(writer, 5)
        assert not writer.flush(0.3)
        store.migrate()
        wait_for(lambda: counted(store) == {"succeeded": 5}, 10, "nothing written")
        writer.close()

    def test_the_oldest_records_go_first_and_totals_never(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(recorder, "MAX_RECORDS", 20)
        store = Store(database_url)
        writer = journal.Journal(store, worker="w")
        run_jobs(writer, 1, prefix="pending")
        assert not writer.flush(0.1)  # this one is on its way already
        run_jobs(writer, 100)
        store.migrate()
        assert writer.flush(20)
        writer.close()
        assert counted(store) == {"succeeded": 101}
        assert journal.find_job(store, "j10") is None
        assert journal.find_job(store, "j99") is not None
        [resumed] = [record for record in caplog.records if record.message == "journal.resumed"]
        assert resumed.__dict__["dropped"] >= 180
        assert lost_records.total(store) == resumed.__dict__["dropped"]


class TestThread:
    def test_a_producer_of_events_waits_for_the_writer(
        self, store: Store, writer: journal.Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recorder, "MAX_RECORDS", 200)
        monkeypatch.setattr(recorder, "BATCH", 100)
        monkeypatch.setattr(recorder, "ROOM_TIMEOUT", 60)  # on a busy machine, a batch may take over a second
        threads = [
            threading.Thread(target=run_jobs, args=(writer, 2000), kwargs={"prefix": f"{name}-"})
            for name in "ab"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.flush(60)
        assert jobs_written(store) == 4000
        assert counted(store) == {"succeeded": 4000}

    def test_after_a_pause_the_first_event_is_written_at_once(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recorder, "INTERVAL", 60)
        writer = journal.Journal(store)
        run_jobs(writer, 1, prefix="first")
        wait_for(lambda: jobs_written(store) == 1, 20, "the first is not written at once")
        run_jobs(writer, 1, prefix="second")
        assert jobs_written(store) == 1
        run_jobs(writer, recorder.BATCH, prefix="many")
        wait_for(lambda: jobs_written(store) > 1, 20, "a full batch is not written")
        writer.close()
        assert jobs_written(store) == recorder.BATCH + 2

    def test_a_child_does_not_write_what_its_parent_has_not_written_yet(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer = journal.Journal(store)
        run_jobs(writer, 1, prefix="warm")
        assert writer.flush()
        run_jobs(writer, 10, prefix="parent")  # they wait for half a second

        def child() -> None:
            run_jobs(writer, 5, prefix="child")
            writer.close()

        join(fork(child))
        assert writer.flush()
        writer.close()
        assert counted(store) == {"succeeded": 16}

    def test_a_lock_held_during_the_fork_is_free_in_the_child(self, store: Store) -> None:
        writer = journal.Journal(store)

        def works() -> None:
            run_jobs(writer, 1)
            writer.close()

        with writer._loop.changed:
            child = fork(works)
        join(child)
        assert counted(store) == {"succeeded": 1}

    def test_a_process_that_ends_writes_its_last_events(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/db.sqlite3"
        Store(url).migrate()
        script = """
            import sys
            from flask_nightshift.domain.events import JobEnqueued
            from flask_nightshift.domain.job import JobRef, utcnow
            from flask_nightshift.journal import Journal
            from flask_nightshift.store import Store
            journal = Journal(Store(sys.argv[1]))
            for number in range(300):
                journal(JobEnqueued(JobRef(f"j{number}", "t", "q", 1), utcnow()))
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script), url], check=True, timeout=60)
        assert jobs_written(Store(url)) == 300

    def test_closing_with_the_database_down_ends_in_time_and_logs_the_loss(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        writer = journal.Journal(Store(f"sqlite:///{tmp_path}/nowhere/db.sqlite3"))
        run_jobs(writer, 3)
        started = time.monotonic()
        writer.close()
        assert time.monotonic() - started < 3
        writer.close()  # as the end of the process does: said once
        [lost] = [record for record in caplog.records if record.message == "journal.lost"]
        assert (lost.levelno, lost.__dict__["records"]) == (logging.ERROR, 6)

    def test_it_can_be_used_again_after_it_was_closed(self, store: Store, writer: journal.Journal) -> None:
        run_jobs(writer, 1, prefix="a")
        writer.close()
        run_jobs(writer, 1, prefix="b")
        assert writer.flush()
        assert jobs_written(store) == 2
