"""The test kit and transactions: jobs wait for a commit, also in a transaction that the test rolls back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, inspect
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flask_nightshift import Nightshift
from flask_nightshift.testing import Jobs, in_memory

jobs = Nightshift()
db = SQLAlchemy()


class User(db.Model):  # type: ignore[name-defined]
    __tablename__ = "kit_user"
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String)


@jobs.task(name="kit.welcome")
def welcome(user_id: int) -> None:
    db.session.get_one(User, user_id).name = "welcomed"
    db.session.commit()


@jobs.task(name="kit.charge")
def charge(order: str) -> None:
    with jobs.once(f"charge:{order}", db.session) as first:
        if first:
            db.session.add(User(name=order))
        db.session.commit()


@pytest.fixture(params=["file", "memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """Flask-SQLAlchemy's app, of which only its own tables are made."""
    app = Flask("kit", instance_path=str(tmp_path))
    urls = {"file": "sqlite:///app.db", "memory": "sqlite://"}
    url = urls.get(request.param) or request.getfixturevalue("postgres").fresh_url()
    app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI=url)
    db.init_app(app)
    jobs.init_app(app)
    with app.app_context():
        db.create_all()
        yield app
        db.session.remove()
        db.drop_all()
        for engine in db.engines.values():
            engine.dispose()


def names() -> list[str]:
    with Session(db.engine) as session:
        return sorted(session.scalars(db.select(User.name)))


def test_jobs_wait_for_the_commit(app: Flask, nightshift_jobs: Jobs) -> None:
    user = User(name="ada")
    db.session.add(user)
    db.session.flush()
    result = welcome.delay_on_commit(user.id)
    with pytest.raises(
        AssertionError, match=r"For the commit of their transaction wait:\n  kit\.welcome\(1\)"
    ):
        nightshift_jobs.assert_enqueued(welcome)
    db.session.commit()
    (job,) = nightshift_jobs.assert_enqueued(welcome, args=[user.id], count=1)
    assert job.id == result.id
    assert user.name == "ada"
    nightshift_jobs.drain(raise_errors=True)
    assert user.name == "welcomed", "the test's own session reads it again"
    assert names() == ["welcomed"]

    db.session.commit()
    charge.delay("lamp")
    charge.delay("lamp")
    nightshift_jobs.drain(raise_errors=True)
    charge.delay("rug")
    assert len(nightshift_jobs.twice(raise_errors=True)) == 2
    assert names() == ["lamp", "rug", "welcomed"]


def test_a_test_that_loses_jobs_fails(app: Flask) -> None:
    def test() -> None:
        with in_memory(app):
            welcome.delay_on_commit(1)
            db.session.rollback()
            with app.app_context():  # as a request does
                welcome.delay_on_commit(2)
            welcome.delay_on_commit(3)

    with pytest.raises(AssertionError) as told:
        test()
    assert str(told.value).splitlines() == [
        "Jobs waited for a transaction, and were not enqueued:",
        "  kit.welcome(1) in the queue 'celery': it was rolled back, or closed without commit()",
        "  kit.welcome(2) in the queue 'celery': it was rolled back, or closed without commit()",
        "  kit.welcome(3) in the queue 'celery': its transaction was never committed",
        "If the test expects that, let it call not_enqueued().",
    ]
    db.session.rollback()


def test_a_test_may_expect_it(app: Flask, nightshift_jobs: Jobs) -> None:
    welcome.delay_on_commit(1)
    db.session.rollback()
    with pytest.raises(
        AssertionError, match=r"Not enqueued, because of their transaction:\n  kit\.welcome\(1\)"
    ):
        nightshift_jobs.assert_enqueued(welcome)
    (lost,) = nightshift_jobs.not_enqueued()
    assert (lost.task, lost.args) == ("kit.welcome", [1])
    savepoint = db.session.begin_nested()
    welcome.delay_on_commit(2)
    savepoint.rollback()
    db.session.commit()
    assert nightshift_jobs.enqueued() == []
    assert nightshift_jobs.not_enqueued() == [], "only a savepoint was rolled back, as its code wanted"


def test_plain_sessions_and_connections(app: Flask, nightshift_jobs: Jobs) -> None:
    with Session(db.engine) as session, session.begin():
        welcome.apply_async_on_commit((1,), session=session)
        assert nightshift_jobs.enqueued() == []
    with db.engine.begin() as connection:
        welcome.apply_async_on_commit((2,), session=connection)
        assert len(nightshift_jobs.enqueued()) == 1
    assert [job.args for job in nightshift_jobs.enqueued()] == [[1], [2]]


@contextmanager
def rolled_back(engine: Engine, **options: Any) -> Iterator[Any]:
    """SQLAlchemy's recipe: sessions that join a transaction, which is rolled back at the end of the test."""
    with engine.connect() as connection:
        outer = connection.begin()
        if engine.dialect.name == "sqlite":  # else its driver commits when the first savepoint is released
            driver: Any = connection.connection.driver_connection
            driver.isolation_level = None
            connection.exec_driver_sql("BEGIN")
        mine, before = scoped_session(sessionmaker(bind=connection, **options)), db.session
        db.session = mine
        yield mine
        db.session = before
        mine.remove()
        outer.rollback()


@pytest.mark.parametrize(
    "options", [{"join_transaction_mode": "create_savepoint"}, {}], ids=["savepoint", "joined"]
)
def test_a_commit_in_a_transaction_of_the_test_counts(
    app: Flask, nightshift_jobs: Jobs, options: dict[str, Any]
) -> None:
    tables = set(inspect(db.engine).get_table_names())
    with rolled_back(db.engine, **options) as session:
        user = User(name="ada")
        session.add(user)
        session.flush()
        with session.begin_nested():
            welcome.delay_on_commit(user.id)
        assert nightshift_jobs.enqueued() == [], "a savepoint is no commit"
        user_id = user.id
        session.commit()
        nightshift_jobs.assert_enqueued(welcome, args=[user_id], count=1)
        nightshift_jobs.drain(raise_errors=True)
        assert user.name == "welcomed", "the job had a session of its own, and did not close the test's"
        charge.delay("lamp")
        charge.delay("lamp")
        nightshift_jobs.drain(raise_errors=True)
        assert session.query(User).filter_by(name="lamp").count() == 1

        session.commit()
        savepoint = session.begin_nested()
        welcome.delay_on_commit(5)
        savepoint.rollback()
        session.commit()
        assert nightshift_jobs.enqueued() == []
        with session.begin_nested():
            welcome.delay_on_commit(6)
        if options:
            session.rollback()
            assert [job.args for job in nightshift_jobs.not_enqueued()] == [[6]]
            welcome.delay_on_commit(7)
        session.close()
        assert [job.args for job in nightshift_jobs.not_enqueued()] == [[7 if options else 6]]
        welcome.delay_on_commit(8)
    assert [job.args for job in nightshift_jobs.not_enqueued()] == [[8]]
    assert names() == []
    assert set(inspect(db.engine).get_table_names()) == tables, (
        "ours were made in the transaction of the test"
    )
