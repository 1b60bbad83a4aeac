"""Migrations: upward with data in place, an old worker beside them, and indexes that are built while jobs run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    delete,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)

from children import fork, join
from flask_nightshift.errors import DatabaseUnavailable
from flask_nightshift.store import Store, indexes, migration, tables
from pgbouncer import PgBouncer
from servers import Postgres, wait_for

OLD = sorted(migration._known())[:-1]
"""Each revision that a database in production may have."""
COMPUTED = {("nightshift_dead_letters", "fingerprint")}
INDEX = "nightshift_jobs_state"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('nightshift_jobs_state')"
BUILDING = "SELECT phase FROM pg_stat_progress_create_index"


def move_to(connection: Connection, revision: str) -> None:
    """Migrate up to ``revision``, as an older version of the package would."""
    config = migration._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def start_at(url: str, revision: str) -> Store:
    store = Store(url)
    if path := store._url.database if url.startswith("sqlite") else None:
        migration.create_file(Path(path))
    with store.begin() as connection:
        move_to(connection, revision)
    return store


def as_it_is(store: Store) -> MetaData:
    """Our tables as the database has them now: what the code of that version knows."""
    found = MetaData()
    with store.begin() as connection:
        found.reflect(
            connection, only=lambda name, _: name.startswith("nightshift_") and "alembic" not in name
        )
    return found


def value(kind: Any, number: int) -> Any:
    """A value that our code can read in a column of that type."""
    kind = getattr(kind, "impl", kind)
    if isinstance(kind, DateTime):
        return datetime(2026, 1, 1, 12, 0, number, tzinfo=UTC)
    if isinstance(kind, LargeBinary):
        return b"\x00\xff%d" % number
    if isinstance(kind, (BigInteger, Integer)):
        return number
    return number + 0.5 if isinstance(kind, Float) else f'"{number}"'


def row(table: Table, number: int) -> dict[str, Any]:
    return {column.name: value(column.type, number) for column in table.columns}


def rows(store: Store, table: Table) -> list[dict[str, Any]]:
    """All rows, without what ``migrate()`` computes anew: the fingerprints of dead letters, of older versions."""
    columns = [each for each in table.columns if (table.name, each.name) not in COMPUTED]
    with store.read() as connection:
        return [dict(found) for found in connection.execute(select(*columns)).mappings()]


@pytest.mark.parametrize("revision", OLD)
class TestUpward:
    def test_data_is_kept_and_readable(self, database_url: str, revision: str) -> None:
        store = start_at(database_url, revision)
        old = as_it_is(store)
        with store.begin() as connection:
            for table in old.sorted_tables:
                connection.execute(insert(table), [row(table, number) for number in (1, 2)])
        before = {table.name: rows(store, table) for table in old.sorted_tables}

        store.migrate()

        assert store.pending_migrations() == []
        assert store.missing_indexes() == []
        for table in old.sorted_tables:
            kept = [each for each in rows(store, table) if each in before[table.name]]
            assert kept == before[table.name], table.name
            now = rows(store, tables.metadata.tables[table.name])  # by the code of today, with its types
            assert len(now) == 2 or table.name == "nightshift_facts"  # in which migrate() writes
            times = [each for each in now[0].values() if isinstance(each, datetime)]
            assert all(each == datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC) for each in times), table.name
        store.close()

    def test_the_code_of_that_revision_goes_on(self, database_url: str, revision: str) -> None:
        """It names its own columns only: no migration may take one away, or add one that must be given."""
        store = start_at(database_url, revision)
        old = as_it_is(store)
        store.migrate()
        for table in old.sorted_tables:
            with store.begin() as connection:
                connection.execute(delete(table))  # what migrate() has written
                connection.execute(insert(table), row(table, 3))
                connection.execute(update(table), row(table, 4))
            assert len(rows(store, table)) == 1, table.name
            with store.begin() as connection:
                assert connection.execute(delete(table)).rowcount == 1
        store.close()


@pytest.mark.postgres
def test_no_migration_builds_an_index_while_others_wait(postgres: Postgres) -> None:
    """On a table that may hold rows, ``create_later`` does it."""
    store = Store(postgres.fresh_url())
    with store.begin() as connection:
        for revision in reversed(migration._known()):
            before = set(inspect(connection).get_table_names())
            said: list[str] = []
            hear = lambda *args, said=said: said.append(args[2])  # noqa: E731 - an object to remove again
            event.listen(connection, "before_cursor_execute", hear)
            move_to(connection, revision)
            event.remove(connection, "before_cursor_execute", hear)
            made = [
                words.split(" ON ")[1].split(" ")[0] for words in said if words.startswith("CREATE INDEX")
            ]
            assert not before.intersection(made), revision
    store.close()


def test_a_migration_that_fails_changes_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = start_at(database_url, "0002")
    before = {table.name for table in as_it_is(store).sorted_tables}

    def fail(connection: Connection) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(migration, "_restore", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            store.migrate()
    assert {table.name for table in as_it_is(store).sorted_tables} == before
    assert store.migrate() == [each for each in reversed(migration._known()) if each > "0002"]
    store.close()


def test_of_containers_that_start_at_once_one_migrates(database_url: str) -> None:
    store = start_at(database_url, "0003")
    table = as_it_is(store).tables["nightshift_jobs"]
    with store.begin() as connection:
        connection.execute(insert(table), [row(table, number) for number in (1, 2)])
    before = rows(store, table)
    store.close()
    join(*(fork(lambda: Store(database_url).migrate()) for _ in range(4)))
    store = Store(database_url)
    assert store.pending_migrations() == []
    assert store.missing_indexes() == []
    assert rows(store, table) == before
    store.close()


def test_a_dropped_index_is_built_again(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(text(f"DROP INDEX {INDEX}"))
    assert store.missing_indexes() == [INDEX]
    assert store.migrate() == []
    assert store.missing_indexes() == []


@contextmanager
def transaction(url: str) -> Iterator[Any]:
    """An open transaction with a snapshot, which a concurrent build waits for."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM nightshift_jobs")
        yield connection
        connection.rollback()


def ask(url: str, query: str) -> Any:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        found = connection.execute(query).fetchone()
        return found and found[0]


def without_index(postgres: Postgres) -> str:
    """A database in production whose next version has another index."""
    url = postgres.fresh_url()
    store = Store(url)
    store.migrate()
    with store.begin() as connection:
        connection.execute(insert(tables.jobs), row(tables.jobs, 1))
        connection.execute(text(f"DROP INDEX {INDEX}"))
    store.close()
    return str(url)


@pytest.mark.postgres
class TestConcurrently:
    def test_only_a_build_that_takes_time_is_told(
        self, postgres: Postgres, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = without_index(postgres)
        assert caplog.messages == []
        store = Store(url)
        store.migrate()
        store.close()
        assert caplog.messages == ["store.index_is_being_built"]

    def test_jobs_are_recorded_while_four_containers_start(self, postgres: Postgres) -> None:
        url = without_index(postgres)
        with transaction(url):
            starting = [fork(lambda: Store(url).migrate()) for _ in range(4)]
            waits = "waiting for old snapshots"
            wait_for(lambda: ask(url, BUILDING) == waits, 20, "the build does not wait for the transaction")
            store = Store(url)
            with store.begin(timeout=2) as connection:
                connection.execute(insert(tables.jobs), row(tables.jobs, 2))
            store.close()
        join(*starting)
        assert ask(url, VALID) is True

    def test_four_containers_start_behind_pgbouncer(self, postgres: Postgres) -> None:
        url = without_index(postgres)
        with_pooler = PgBouncer(postgres)
        with_pooler.start()
        try:
            join(*(fork(lambda: Store(with_pooler.of(url)).migrate()) for _ in range(4)))
        finally:
            with_pooler.close()
        assert ask(url, VALID) is True
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        assert ask(url, locks) == 0

    def test_a_build_that_was_interrupted_is_done_again(self, postgres: Postgres) -> None:
        url = without_index(postgres)
        with transaction(url):
            killed = fork(lambda: Store(url).migrate())
            wait_for(lambda: ask(url, VALID) is False, 20, "no build began")
            os.kill(killed, signal.SIGKILL)
            os.waitpid(killed, 0)
            ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index")
            wait_for(lambda: ask(url, BUILDING) is None, 20, "the build goes on")
        assert ask(url, VALID) is False
        store = Store(url)
        assert store.missing_indexes() == [INDEX]
        store.migrate()
        assert ask(url, VALID) is True
        store.close()

    def test_a_build_that_the_server_goes_on_with_is_not_disturbed(self, postgres: Postgres) -> None:
        """A killed client's statement runs to its end; dropping its index would deadlock with it."""
        url = without_index(postgres)
        with transaction(url):
            killed = fork(lambda: Store(url).migrate())
            wait_for(lambda: ask(url, BUILDING) == "waiting for old snapshots", 20, "no build began")
            identity = ask(url, f"SELECT to_regclass('{INDEX}')::oid")
            os.kill(killed, signal.SIGKILL)
            os.waitpid(killed, 0)
            next_one = fork(lambda: Store(url).migrate())
            looks = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_locks WHERE locktype%'"
            wait_for(
                lambda: ask(url, f"{looks} AND pid <> pg_backend_pid()"), 20, "nobody looks at the build"
            )
        join(next_one)
        assert ask(url, VALID) is True
        assert ask(url, f"SELECT to_regclass('{INDEX}')::oid") == identity

    def test_a_table_in_use_delays_a_migration_and_not_its_other_users(
        self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migration, "TABLE_LOCK_SECONDS", 1)
        url = postgres.fresh_url()
        store = start_at(url, "0002")
        with psycopg.connect(url.replace("+psycopg", "")) as reader:
            reader.execute("SELECT count(*) FROM nightshift_dead_letters")
            migrated = threading.Thread(target=store.migrate)
            migrated.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            wait_for(lambda: ask(url, waiting) == 1, 20, "no migration waits")
            started = time.monotonic()
            ask(url, "SELECT count(*) FROM nightshift_dead_letters")  # waits behind it
            assert time.monotonic() - started < 3
            reader.rollback()
        migrated.join(20)
        assert store.pending_migrations() == []
        store.close()

    def test_who_waits_for_too_long_says_why(
        self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migration, "MIGRATION_SECONDS", 0.5)
        url = postgres.fresh_url()
        with psycopg.connect(url.replace("+psycopg", "")) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (migration._ADVISORY_LOCK,))
            with pytest.raises(DatabaseUnavailable, match="another process migrates it"):
                Store(url).migrate()

    def test_a_role_that_does_not_own_the_table_is_told_so(self, postgres: Postgres) -> None:
        url = without_index(postgres)
        role = f"weak_{url.rpartition('/')[2]}"
        with Store(url).begin() as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
            connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
        weak = Store(url.replace("//shop:s3cret-postgres@", f"//{role}@"))
        with pytest.raises(DatabaseUnavailable, match=r"must be owner .* with a role that may make"):
            weak.migrate()
        weak.close()

    def test_others_go_on_when_a_build_takes_too_long(
        self, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(indexes, "OTHERS_SECONDS", 0.5)
        url = without_index(postgres)
        with transaction(url):
            building = fork(partial(Store(url).migrate))
            wait_for(lambda: ask(url, BUILDING) == "waiting for old snapshots", 20, "no build began")
            assert Store(url).migrate() == []
            assert ask(url, VALID) is False
        join(building)
        assert ask(url, VALID) is True


def test_a_batch_migration_keeps_the_rows_of_sqlite(sqlite_at_head: Store) -> None:
    """SQLite changes a column by copying its table; our env.py lets migrations do that."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    store = sqlite_at_head
    with store.begin() as connection:
        connection.execute(insert(tables.schedules), [row(tables.schedules, number) for number in (1, 2)])
    with store.begin() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        with Operations.context(context) as op, op.batch_alter_table("nightshift_schedules") as batch:
            batch.alter_column("total_run_count", nullable=True)
    assert len(rows(store, tables.schedules)) == 2
    with store.read() as connection:
        columns = {
            each["name"]: each["nullable"] for each in inspect(connection).get_columns("nightshift_schedules")
        }
    assert columns["total_run_count"] is True


@pytest.fixture
def sqlite_at_head(tmp_path: Any) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/db.sqlite3")
    store.migrate()
    yield store
    store.close()
