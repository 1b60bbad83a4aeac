"""``jobs.once()``: a block that is done once, on each kind of database, with and without a session."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine, insert, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from children import fork, join
from flask_nightshift import (
    AlreadyInProgress,
    ConfigurationError,
    DatabaseUnavailable,
    Nightshift,
    PermanentFailure,
    journal,
)
from flask_nightshift.domain.context import current_job
from flask_nightshift.domain.job import FINISHED, JobRef, utcnow
from flask_nightshift.once import deciding, markers
from flask_nightshift.store import Store, tables
from servers import wait_for


class App:
    """A Flask app whose history and data share a database, as by default."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.flask = Flask("once", instance_path=str(folder))
        self.flask.config |= {
            "NIGHTSHIFT_BROKER_URL": "memory://",
            "SQLALCHEMY_DATABASE_URI": url,
        }
        self.db = SQLAlchemy(self.flask)
        self.jobs = Nightshift(self.flask)
        self.store: Store = self.jobs.services.store
        self.store.migrate()
        with self.store.begin() as connection:
            connection.execute(text("CREATE TABLE payments (key VARCHAR(50))"))

    def paid(self) -> list[str]:
        with self.store.read() as connection:
            return list(connection.execute(text("SELECT key FROM payments ORDER BY key")).scalars())

    def marker(self, key: str) -> deciding.Marker | None:
        with self.store.read() as connection:
            return markers.read(connection, key)

    def pay(self, key: str, session: Any) -> bool:
        """The block that the docs recommend."""
        with self.jobs.once(key, session) as first:
            if first:
                session.execute(text("INSERT INTO payments VALUES (:key)"), {"key": key})
                session.commit()
            return bool(first)


@pytest.fixture
def app(database_url: str, tmp_path: Path) -> Iterator[App]:
    made = App(database_url, tmp_path)
    with made.flask.app_context():
        yield made
        made.db.session.remove()
        made.db.engine.dispose()
    made.jobs.close()


@pytest.fixture(params=["scoped", "plain", "connection"])
def session(request: pytest.FixtureRequest, app: App) -> Iterator[Any]:
    """Each kind of session that a caller may have."""
    if request.param == "scoped":
        yield app.db.session
        return
    engine = create_engine(app.store._url)
    with Session(engine) if request.param == "plain" else engine.connect() as made:
        yield made
    engine.dispose()


def as_job(job_id: str, run: int = 0) -> Any:
    """Let the code that follows belong to a job."""
    return current_job.set(JobRef(job_id, "pay", "q", 1, run=run))


@pytest.fixture(autouse=True)
def _no_job_stays() -> Iterator[None]:
    token = current_job.set(None)
    yield
    current_job.reset(token)


class TestWithASession:
    def test_the_second_time_is_not_the_first(self, app: App, session: Any) -> None:
        assert app.pay("a", session) is True
        assert app.pay("a", session) is False
        assert app.pay("b", session) is True
        assert app.paid() == ["a", "b"]

    def test_a_commit_after_the_block_is_as_good(self, app: App, session: Any) -> None:
        with app.jobs.once("a", session) as first:
            session.execute(text("INSERT INTO payments VALUES ('a')"))
        session.commit()
        assert first
        assert app.pay("a", session) is False
        assert app.paid() == ["a"]

    def test_a_rollback_takes_effect_and_marker_back(self, app: App, session: Any) -> None:
        with app.jobs.once("a", session):
            session.execute(text("INSERT INTO payments VALUES ('a')"))
            session.rollback()
        assert app.marker("a") is None
        assert app.pay("a", session) is True
        assert app.paid() == ["a"]

    def test_an_exception_releases_it_also_if_the_transaction_goes_on(self, app: App, session: Any) -> None:
        with pytest.raises(ZeroDivisionError), app.jobs.once("a", session):
            raise ZeroDivisionError
        session.commit()
        assert app.marker("a") is None

    def test_an_exception_after_the_commit_does_not_undo_what_is_done(self, app: App, session: Any) -> None:
        block = app.jobs.once("a", session)
        assert block.__enter__()
        session.execute(text("INSERT INTO payments VALUES ('a')"))
        session.commit()
        block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert app.pay("a", session) is False

    def test_a_statement_that_fails_hides_no_error(self, app: App, session: Any) -> None:
        with pytest.raises(Exception, match="nowhere"), app.jobs.once("a", session):
            session.execute(text("INSERT INTO nowhere VALUES (1)"))
        session.rollback()
        assert app.marker("a") is None
        assert app.pay("a", session) is True

    def test_a_savepoint_that_is_rolled_back_takes_its_marker_along(self, app: App, session: Any) -> None:
        with session.begin_nested() as savepoint, app.jobs.once("a", session):
            savepoint.rollback()
        session.commit()
        assert app.pay("a", session) is True

    def test_who_comes_meanwhile_is_refused_at_once(self, app: App, session: Any) -> None:
        """On SQLite the second one finds the file locked, after as long as its driver waits: here not at all."""
        with app.jobs.once("a", session) as first:
            assert first
            options = {"connect_args": {"timeout": 0}} if app.url.startswith("sqlite") else {}
            engine = create_engine(app.store._url, **options)
            with (
                engine.connect() as other,
                pytest.raises(AlreadyInProgress, match="another transaction") as caught,
            ):
                app.jobs.once("a", other).__enter__()
            engine.dispose()
            assert caught.value.key == "a"
            session.execute(text("INSERT INTO payments VALUES ('a')"))
            session.commit()
        assert app.paid() == ["a"]

    def test_a_process_that_is_killed_in_the_block_leaves_nothing(self, app: App) -> None:
        beginning, going = os.pipe()

        def dies() -> None:
            engine = create_engine(app.store._url)
            with engine.connect() as connection, app.jobs.once("a", connection):
                connection.execute(text("INSERT INTO payments VALUES ('a')"))
                os.write(going, b"x")
                signal.pause()

        child = fork(dies)
        os.read(beginning, 1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        wait_for(lambda: _tried(app), 10, "the key stays taken")
        assert app.paid() == ["a"]

    def test_many_at_once_have_one_effect(self, app: App) -> None:
        def tries() -> None:
            while True:
                engine = create_engine(app.store._url)
                try:
                    with engine.connect() as connection:
                        app.pay("a", connection)
                        return
                except AlreadyInProgress:
                    continue
                finally:
                    engine.dispose()

        join(*(fork(tries) for _ in range(6)))
        assert app.paid() == ["a"]

    def test_one_effect_for_each_key_although_processes_are_killed_at_random(self, app: App) -> None:
        """Workers run the same jobs, as after redeliveries; each is killed at any moment, and another one follows."""
        keys = [f"order-{number:02}" for number in range(25)]

        def works(seed: int) -> None:
            rng = random.Random(seed)
            engine = create_engine(app.store._url)
            left = list(keys)
            while left:
                key = rng.choice(left)
                with engine.connect() as connection:
                    try:
                        app.pay(key, connection)
                    except (AlreadyInProgress, OperationalError):  # or SQLite's commit finds it locked
                        continue
                left.remove(key)

        rng = random.Random(15)
        for turn in range(15):
            children = [fork(partial(works, 2 * turn + number)) for number in range(2)]
            time.sleep(rng.uniform(0.02, 0.15))  # any moment will do
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        join(*(fork(partial(works, seed)) for seed in (100, 101)))
        assert app.paid() == keys

    def test_a_database_without_our_tables_is_refused_by_name(self, app: App, tmp_path: Path) -> None:
        engine = create_engine(f"sqlite:///{tmp_path}/other.db")
        with (
            engine.connect() as connection,
            pytest.raises(DatabaseUnavailable, match=r"other.db has no table"),
        ):
            app.jobs.once("a", connection).__enter__()
        engine.dispose()

    @pytest.mark.parametrize("wrong", ["text", 5, object()])
    def test_anything_else_is_refused(self, app: App, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="give a SQLAlchemy Session"):
            app.jobs.once("a", wrong)

    def test_autocommit_is_refused(self, app: App) -> None:
        engine = create_engine(app.store._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection, pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            app.jobs.once("a", connection)
        engine.dispose()


def _tried(app: App) -> bool:
    try:
        return app.pay("a", app.db.session)
    except AlreadyInProgress:
        app.db.session.rollback()
        return False


class TestByItself:
    def test_the_second_time_is_not_the_first(self, app: App) -> None:
        with app.jobs.once("a") as first, app.jobs.once("b") as other:
            assert first
            assert other
        with app.jobs.once("a") as again:
            assert again is False

    def test_an_exception_releases_it(self, app: App) -> None:
        with pytest.raises(ZeroDivisionError), app.jobs.once("a"):
            raise ZeroDivisionError
        assert app.marker("a") is None

    def test_who_comes_meanwhile_learns_who_does_it(self, app: App) -> None:
        as_job("first")
        with app.jobs.once("a"):
            as_job("second")
            with pytest.raises(AlreadyInProgress, match="the job first since") as caught:
                app.jobs.once("a").__enter__()
            assert (caught.value.job_id, caught.value.key) == ("first", "a")
            as_job("first")

    def test_the_same_job_enters_again(self, app: App) -> None:
        as_job("killed")
        app.jobs.once("a").__enter__()  # and its worker dies
        with app.jobs.once("a") as first:
            assert first
        with app.jobs.once("a") as again:
            assert not again

    def test_a_later_run_takes_over_and_an_earlier_one_does_not(self, app: App) -> None:
        as_job("job", run=1)
        app.jobs.once("a").__enter__()
        as_job("job", run=0)
        with pytest.raises(AlreadyInProgress):
            app.jobs.once("a").__enter__()
        as_job("job", run=2)
        with app.jobs.once("a") as first:
            assert first

    @pytest.mark.parametrize(
        ("state", "run", "error", "free"),
        [
            *((str(state), 0, None, True) for state in FINISHED),
            ("queued", 1, None, True),
            ("running", 0, None, False),
            ("retrying", 0, "ConnectionError", False),
            ("cancelled", 0, "purged", False),  # the history guesses that, and a worker may run the job
        ],
    )
    def test_another_one_takes_over_when_the_owner_has_ended(
        self, app: App, state: str, run: int, error: str | None, free: bool
    ) -> None:
        as_job("owner")
        app.jobs.once("a").__enter__()
        now = utcnow()
        with app.store.begin() as connection:
            row = {"id": "owner", "task": "t", "queue": "q", "state": state, "place": 1, "attempts": 1}
            connection.execute(insert(tables.jobs).values(**row, run=run, error=error, updated_at=now))
        as_job("other")
        if free:
            with app.jobs.once("a") as first:
                assert first
        else:
            with pytest.raises(AlreadyInProgress):
                app.jobs.once("a").__enter__()

    def test_another_one_takes_over_when_the_time_is_over(self, app: App) -> None:
        slow, failing = app.jobs.once("a", ttl=0.05), app.jobs.once("b", ttl=0.05)
        blocks = [slow, failing]
        for block in blocks:
            assert block.__enter__()

        def entered(key: str) -> bool:
            try:
                return app.jobs.once(key).__enter__()
            except AlreadyInProgress:
                return False

        for key in ("a", "b"):
            assert wait_for(lambda key=key: entered(key), 5, "its time is not over")
        before = [app.marker(key) for key in ("a", "b")]
        slow.__exit__(None, None, None)  # both are too late: the markers are another one's
        failing.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert [app.marker(key) for key in ("a", "b")] == before
        assert all(marker and marker.finished_at is None for marker in before)

    def test_what_is_out_of_date_is_pruned_and_done_again(self, app: App) -> None:
        for key in ("old", "new"):
            with app.jobs.once(key):
                pass
        with app.store.begin() as connection:
            past = utcnow() - timedelta(days=1)
            connection.execute(
                tables.markers.update().where(tables.markers.c.key == "old").values(expires_at=past)
            )
        with app.jobs.once("new") as first:
            assert not first
        assert journal.prune_once(app.store, utcnow()) == 1
        assert app.marker("old") is None
        assert app.marker("new") is not None
        with app.jobs.once("old") as first:
            assert first

    def test_a_lock_of_the_own_session_is_named(self, app: App) -> None:
        if not app.url.startswith("sqlite"):
            pytest.skip("two transactions of PostgreSQL do not lock each other out")
        app.db.session.execute(text("INSERT INTO payments VALUES ('a')"))
        with pytest.raises(DatabaseUnavailable, match=r"your own session .* give it the session"):
            app.jobs.once("a").__enter__()
        app.db.session.rollback()

    def test_a_long_key_and_one_that_no_database_takes(self, app: App) -> None:
        for key in ("x" * 5_000, "nul\0", "half \ud800", "ü" * 400):
            with app.jobs.once(key) as first:
                assert first
            with app.jobs.once(key) as again:
                assert not again

    @pytest.mark.parametrize("wrong", [None, "", 5, b"bytes", ["list"]])
    def test_a_key_is_text(self, app: App, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"key of jobs.once\(\)"):
            app.jobs.once(wrong)

    @pytest.mark.parametrize("wrong", [0, -1, "60", None])
    def test_a_ttl_is_seconds(self, app: App, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match="ttl"):
            app.jobs.once("a", ttl=wrong)

    def test_many_at_once_enter_one_after_the_other(self, app: App, tmp_path: Path) -> None:
        ledger = tmp_path / "entered"

        def tries() -> None:
            while True:
                try:
                    with app.jobs.once("a") as first:
                        if first:
                            with ledger.open("a") as file:
                                file.write("x")
                        return
                except AlreadyInProgress:
                    continue

        join(*(fork(tries) for _ in range(6)))
        assert ledger.read_text() == "x"

    def test_a_transaction_with_the_same_key_is_not_waited_for(self, app: App) -> None:
        if app.url.startswith("sqlite"):
            pytest.skip("SQLite has one writer, whatever it writes")
        with app.jobs.once("a", app.db.session):
            with pytest.raises(AlreadyInProgress, match="PostgreSQL process"):
                app.jobs.once("a").__enter__()
            app.db.session.rollback()


class TestIdempotencyKey:
    """In the caller's process: ``apply()``, and ``task_always_eager``."""

    def test_a_job_that_succeeded_has_done_it_although_its_marker_could_not_be_finished(
        self, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        done: list[int] = []

        @app.jobs.task(name="pay", idempotency_key=str)
        def pay(user: int) -> str:
            done.append(user)
            return "paid"

        def away(*_: Any) -> None:
            raise DatabaseUnavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(markers, "finish", away)
            first = pay.apply((1,))
        assert first.get() == "paid"  # invariant 13
        assert "once.not_finished" in caplog.text
        with app.store.begin() as connection:
            row = {
                "id": first.id,
                "task": "pay",
                "queue": "q",
                "state": "succeeded",
                "place": 1,
                "attempts": 1,
            }
            connection.execute(insert(tables.jobs).values(**row, run=0, updated_at=utcnow()))
        assert pay.apply((1,)).get() is None
        assert done == [1]

    def test_a_repeat_returns_none_and_does_not_run(self, app: App) -> None:
        done: list[int] = []

        @app.jobs.task(name="pay", idempotency_key=lambda user: f"user-{user}")
        def pay(user: int) -> int:
            done.append(user)
            return user

        assert [pay.apply((user,)).get() for user in (1, 2, 1)] == [1, 2, None]
        assert done == [1, 2]
        pay(1)  # a plain call is a plain call
        assert done == [1, 2, 1]

    def test_tasks_do_not_share_keys(self, app: App) -> None:
        @app.jobs.task(name="one", idempotency_key=str)
        def one(number: int) -> str:
            return "one"

        @app.jobs.task(name="two", idempotency_key=str)
        async def two(number: int) -> str:
            return "two"

        for expected in (["one", "two"], [None, None]):
            results: list[Any] = [one.apply((1,)).get(), two.apply((1,)).get()]
            assert results == expected

    def test_a_failure_releases_the_key(self, app: App) -> None:
        works = False

        @app.jobs.task(name="flaky", idempotency_key=str, max_retries=0)
        def flaky(number: int) -> str:
            if not works:
                raise ConnectionError
            return "done"

        with pytest.raises(ConnectionError):
            flaky.apply((1,)).get()
        works = True
        assert flaky.apply((1,)).get() == "done"

    def test_while_another_one_is_at_it_an_eager_call_is_told_so(self, app: App) -> None:
        @app.jobs.task(name="slow", idempotency_key=str, max_retries=0)
        def slow(number: int) -> str:
            with pytest.raises(AlreadyInProgress, match="slow:1"):
                slow.apply((number,)).get()
            return "done"

        assert slow.apply((1,)).get() == "done"

    @pytest.mark.parametrize("wrong", [None, "", 5, ["list"], b"bytes"])
    def test_a_key_that_is_no_text_names_the_task(self, app: App, wrong: Any) -> None:
        @app.jobs.task(name="wrong.key", idempotency_key=lambda number: wrong)
        def task(number: int) -> None: ...

        with pytest.raises(PermanentFailure, match=r"idempotency_key of the task 'wrong.key' returned"):
            task.apply((1,)).get()

    def test_a_key_that_raises_names_the_task(self, app: App) -> None:
        @app.jobs.task(name="wrong.key", idempotency_key=lambda: "x", max_retries=0)
        def task(number: int) -> None: ...

        with pytest.raises(RuntimeError, match=r"idempotency_key of the task 'wrong.key' raised TypeError"):
            task.apply((1,)).get()

    @pytest.mark.parametrize("wrong", ["user_id", 5, True])
    def test_it_is_checked_at_declaration(self, app: App, wrong: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"idempotency_key of the task 'x' .* give a function"):
            app.jobs.task(name="x", idempotency_key=wrong)(lambda: None)

    def test_a_misspelt_one_is_refused(self, app: App) -> None:
        with pytest.raises(ConfigurationError, match="did you mean 'idempotency_key'"):
            app.jobs.task(name="x", idempotence_key=str)(lambda: None)
