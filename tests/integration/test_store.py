"""The store on SQLite and PostgreSQL: migrations, several processes, and a database that fails and comes back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from children import fork, join
from flask_nightshift.errors import ConfigurationError, DatabaseUnavailable
from flask_nightshift.store import Store, tables
from flask_nightshift.store.migration import VERSION_TABLE
from servers import Postgres, wait_for


def count_up(store: Store, name: str, times: int) -> None:
    """Read, then write; without a lock from the start, this loses updates or fails."""
    schedules = tables.schedules
    one = schedules.c.name == name
    for _ in range(times):
        with store.begin(timeout=30) as connection:
            count = connection.execute(
                select(schedules.c.total_run_count).where(one).with_for_update()
            ).scalar_one()
            connection.execute(update(schedules).where(one).values(total_run_count=count + 1))


def counted(store: Store, name: str) -> int:
    with store.read() as connection:
        query = select(tables.schedules.c.total_run_count).where(tables.schedules.c.name == name)
        return int(connection.execute(query).scalar_one())


@pytest.fixture
def counter(store: Store) -> str:
    with store.begin() as connection:
        connection.execute(insert(tables.schedules).values(name="n", total_run_count=0))
    return "n"


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/history/db.sqlite3")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def postgresql(postgres: Postgres) -> Iterator[Store]:
    made = Store(postgres.fresh_url())
    made.migrate()
    yield made
    made.close()


class TestMigrations:
    def test_the_first_call_applies_what_is_pending_and_the_second_nothing(self, database_url: str) -> None:
        store = Store(database_url)
        applied = store.migrate()
        assert applied[0] == "0001"
        assert store.migrate() == []
        assert store.pending_migrations() == []

    def test_the_tables_are_what_the_code_thinks(self, store: Store) -> None:
        def ours(name: str | None, kind: str, parents: Any) -> bool:
            return kind != "table" or bool(name and name.startswith("nightshift_") and name != VERSION_TABLE)

        dialect = store.engine.dialect.name
        declared = [index for table in tables.metadata.tables.values() for index in table.indexes]
        by_dialect = {index.name: index for index in declared if tables.DIALECT in index.info}

        def compared(_: Any, name: str | None, kind: str, *__: Any) -> bool:
            """Alembic cannot compare indexes of expressions, or two of one name for two kinds of databases."""
            return kind != "index" or name not in by_dialect

        with store.read() as connection:
            context = MigrationContext.configure(
                connection, opts={"include_name": ours, "include_object": compared, "compare_type": True}
            )
            differences = compare_metadata(context, tables.metadata)
            catalog = "pg_indexes" if dialect == "postgresql" else "sqlite_master"
            column = "indexname" if dialect == "postgresql" else "name"
            built = set(connection.execute(text(f"SELECT {column} FROM {catalog}")).scalars())
        assert differences == []
        assert built >= {index.name for index in declared if index.info.get(tables.DIALECT) == dialect}

    def test_web_worker_and_beat_may_all_migrate_at_once(self, database_url: str) -> None:
        store = Store(database_url)
        join(*(fork(store.migrate) for _ in range(6)))
        assert store.pending_migrations() == []

    def test_a_database_of_a_newer_version_is_left_alone(self, store: Store) -> None:
        with store.begin() as connection:
            connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
        assert store.pending_migrations() == []
        assert store.migrate() == []

    def test_the_app_s_own_tables_and_migrations_are_left_alone(self, database_url: str) -> None:
        store = Store(database_url)
        store.migrate()
        with store.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
            connection.execute(text("INSERT INTO alembic_version VALUES ('the-app')"))
        store.migrate()
        with store.read() as connection:
            assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "the-app"

    def test_missing_tables_are_reported(self, postgres: Postgres) -> None:
        store = Store(postgres.fresh_url())
        with pytest.raises(DatabaseUnavailable, match="flask jobs migrate"), store.read() as connection:
            connection.execute(select(tables.jobs))


class TestProcesses:
    def test_several_write_at_once_and_no_update_is_lost(self, store: Store, counter: str) -> None:
        join(*(fork(lambda: count_up(store, counter, 60)) for _ in range(4)))
        assert counted(store, counter) == 240

    def test_a_child_has_connections_of_its_own(self, store: Store, counter: str) -> None:
        before = store.engine
        with store.read() as open_in_parent:
            open_in_parent.execute(select(tables.schedules)).all()
            join(fork(lambda: count_up(store, counter, 5)))
            # had the child spoken on it, or closed it, this would fail
            open_in_parent.execute(select(tables.schedules)).all()
        assert store.engine is before
        assert counted(store, counter) == 5

    def test_a_lock_held_during_the_fork_is_free_in_the_child(self, store: Store) -> None:
        with store._lock:
            child = fork(store.ping)
        join(child)

    def test_readers_do_not_wait_for_writers(self, store: Store, counter: str) -> None:
        with store.begin() as writer:
            writer.execute(update(tables.schedules).values(total_run_count=7))
            started = time.monotonic()
            assert counted(store, counter) == 0
            assert time.monotonic() - started < 1

    def test_a_writer_waits_for_its_turn(self, sqlite: Store) -> None:
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with sqlite.begin():
                held.set()
                release.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(10)
        with pytest.raises(DatabaseUnavailable, match="locked"), sqlite.begin(timeout=0.2):
            pass
        threading.Timer(0.2, release.set).start()
        with sqlite.begin(timeout=10) as connection:
            connection.execute(insert(tables.schedules).values(name="mine", total_run_count=0))
        thread.join()

    def test_threads_share_a_database_in_memory(self) -> None:
        store = Store("sqlite://")
        store.migrate()
        with store.begin() as connection:
            connection.execute(insert(tables.schedules).values(name="n", total_run_count=0))
        threads = [threading.Thread(target=count_up, args=(store, "n", 20)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counted(store, "n") == 60

    def test_children_forked_while_threads_write_do_not_hang(self, sqlite: Store) -> None:
        with sqlite.begin() as connection:
            connection.execute(insert(tables.schedules).values(name="n", total_run_count=0))
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                count_up(sqlite, "n", 1)

        threads = [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(40):
                join(fork(lambda: counted(Store(sqlite._url.render_as_string()), "n")))
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_a_writer_that_waits_for_another_process_holds_up_neither_fork_nor_reader(
        self, sqlite: Store
    ) -> None:
        other = sqlite3.connect(str(sqlite._url.database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        held = threading.Event()

        def wait_for_lock() -> None:
            with sqlite.begin(timeout=20):
                held.set()

        waiting = threading.Thread(target=wait_for_lock)
        waiting.start()
        started = time.monotonic()
        for _ in range(5):
            sqlite.ping()
            join(fork(lambda: None))
        assert time.monotonic() - started < 15
        assert not held.is_set()
        other.execute("ROLLBACK")
        waiting.join(10)
        assert held.is_set()
        other.close()


class TestAway:
    def test_no_file_is_created_in_place_of_one_that_is_missing(self, tmp_path: Path) -> None:
        store = Store(f"sqlite:///{tmp_path}/nowhere/db.sqlite3")
        with pytest.raises(DatabaseUnavailable, match="migrate"):
            store.ping()
        assert list(tmp_path.iterdir()) == []

    def test_a_directory_is_moved_and_moved_back(self, sqlite: Store, tmp_path: Path) -> None:
        (tmp_path / "history").rename(tmp_path / "elsewhere")
        with pytest.raises(DatabaseUnavailable), sqlite.begin() as connection:
            connection.execute(insert(tables.schedules).values(name="lost", total_run_count=0))
        (tmp_path / "elsewhere").rename(tmp_path / "history")
        with sqlite.begin() as connection:
            connection.execute(insert(tables.schedules).values(name="kept", total_run_count=0))
            assert connection.execute(select(tables.schedules.c.name)).scalars().all() == ["kept"]

    def test_a_file_that_was_replaced_is_written_and_not_the_old_one(
        self, sqlite: Store, tmp_path: Path
    ) -> None:
        sqlite.ping()
        path = tmp_path / "history" / "db.sqlite3"
        shutil.rmtree(path.parent)
        Store(f"sqlite:///{path}").migrate()
        with sqlite.begin() as connection:
            connection.execute(insert(tables.schedules).values(name="n", total_run_count=0))
        assert counted(Store(f"sqlite:///{path}"), "n") == 0

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        (tmp_path / "db.sqlite3").write_bytes(b"no database at all" * 100)
        with pytest.raises(DatabaseUnavailable, match="not a database"):
            Store(f"sqlite:///{tmp_path}/db.sqlite3").ping()

    def test_postgresql_stops_and_starts(self, postgresql: Store, postgres: Postgres) -> None:
        postgresql.ping()
        postgres.stop()
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable) as caught:
            postgresql.ping()
        assert time.monotonic() - started < 6
        assert "s3cret" not in str(caught.value)
        postgres.start()
        assert postgresql.ping() < 3

    def test_postgresql_restarts_within_a_second_without_an_error(
        self, postgresql: Store, postgres: Postgres
    ) -> None:
        for _ in range(3):
            postgresql.ping()
        postgres.stop()
        postgres.start()
        # the pooled connection is dead; it is tried before it is used once it has rested for a second
        wait_for(lambda: postgresql.ping() or True, 5, "no connection")

    def test_postgresql_that_is_frozen_does_not_hang_anyone(
        self, postgresql: Store, postgres: Postgres
    ) -> None:
        with postgresql.read():
            pass
        postgres.freeze()
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailable):  # on a connection just used
            postgresql.ping(timeout=0.5)
        with pytest.raises(DatabaseUnavailable):  # on a new one
            postgresql.ping(timeout=0.5)
        assert time.monotonic() - started < 8
        postgres.thaw()
        assert wait_for(postgresql.ping, 10, "no connection")

    def test_an_error_of_content_is_not_the_database_s(self, store: Store, counter: str) -> None:
        with pytest.raises(IntegrityError), store.begin() as connection:
            connection.execute(insert(tables.schedules).values(name=counter, total_run_count=0))
        assert counted(store, counter) == 0

    def test_a_wrong_password_is_not_shown(self, tmp_path: Path) -> None:
        store = Store("postgresql://user:s3cret@127.0.0.1:1/none")
        with pytest.raises(DatabaseUnavailable) as caught:
            store.ping()
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in store.url

    def test_another_kind_of_database_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="NIGHTSHIFT_DATABASE_URL") as caught:
            Store("mysql://user:s3cret@host/name")
        assert "s3cret" not in str(caught.value)


class TestTypes:
    def test_characters_that_databases_refuse_are_replaced(self, store: Store) -> None:
        with store.begin() as connection:
            connection.execute(insert(tables.schedules).values(name="a\0b\ud800c", total_run_count=0))
        with store.read() as connection:
            assert connection.execute(select(tables.schedules.c.name)).scalar() == "a\ufffdb?c"

    def test_times_come_back_in_utc(self, store: Store) -> None:
        noon_in_delhi = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
        with store.begin() as connection:
            connection.execute(insert(tables.beats).values(name="b", ticked_at=noon_in_delhi))
        with store.read() as connection:
            found = connection.execute(select(tables.beats.c.ticked_at)).scalar_one()
        assert found == noon_in_delhi
        assert found.tzinfo is UTC

    def test_json_restores_types_that_json_lacks(self, store: Store) -> None:
        headers = {
            "x-death": [{"time": datetime(2026, 5, 1, tzinfo=UTC), "count": 3, "queue": "q"}],
            "raw": b"\x00\xff",
            "amount": Decimal("1.10"),
            "nul": "a\0b",
            "half": "\ud800",
            "none": None,
        }
        values = {"name": "w", "hostname": "h", "pid": 1, "concurrency": 1, "pool": "solo", "version": ""}
        times = dict.fromkeys(("started_at", "seen_at", "loop_at"), datetime.now(UTC))
        with store.begin() as connection:
            connection.execute(insert(tables.workers).values(**values, **times, busy=headers, queues=[]))
        with store.read() as connection:
            assert connection.execute(select(tables.workers.c.busy)).scalar() == headers


def test_the_file_is_in_write_ahead_mode_and_nothing_leaks(sqlite: Store, tmp_path: Path) -> None:
    with sqlite.begin() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert inspect(connection).has_table("nightshift_jobs")
    sqlite.close()
    opened = {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}")
    }
    assert not [path for path in opened if path.startswith(str(tmp_path))]
