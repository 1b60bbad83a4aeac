"""A job that is enqueued with a transaction is published after its commit, and not at all without one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flask_nightshift.domain.job import utcnow
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.store.tables import jobs as jobs_table
from outbox_shop import Shop, database_of, shops
from servers import wait_for

PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("valkey", "postgres"), marks=pytest.mark.postgres),
    ("rabbitmq", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=pytest.mark.postgres),
]


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """A factory of apps."""
    broker, database = request.param
    server = request.getfixturevalue(broker)
    with shops(tmp_path, server.fresh_url, partial(database_of, request, database)) as made:
        yield made


@pytest.fixture
def shop(make: Callable[..., Shop]) -> Iterator[Shop]:
    """An app, in its context."""
    made = make()
    with made.app.app_context():
        yield made


def order(session: Any, number: int = 1) -> None:
    session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})


def test_it_is_published_after_the_commit_and_its_row_deleted(shop: Shop) -> None:
    result = shop.send.delay_on_commit(1)
    order(shop.db.session)
    assert (shop.ready, shop.rows) == (0, 0)
    shop.db.session.commit()
    assert shop.ready == 1
    shop.settles(1, 0)
    assert shop.services.journal.flush()
    with shop.services.store.read() as connection:
        states = connection.execute(text("SELECT id, state FROM nightshift_jobs")).all()
    assert states == [(result.id, "queued")]


def test_rolled_back_it_is_not(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    one, two = shop.send.delay_on_commit(1), shop.send.delay_on_commit(2)
    shop.db.session.rollback()
    (record,) = [each for each in caplog.records if "job.not_enqueued" in each.getMessage()]
    assert f"job_ids={one.id},{two.id} " in record.getMessage()
    shop.send.delay_on_commit(3)
    shop.db.session.commit()
    shop.settles(1)


def test_closed_without_commit_is_said(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.app.app_context():
        result = shop.send.delay_on_commit(1)
    assert f"job_ids={result.id}" in caplog.text
    assert shop.ready == 0


def test_savepoints(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    session = shop.db.session
    kept = [shop.send.delay_on_commit(1).id]
    with session.begin_nested():
        kept.append(shop.send.delay_on_commit(2).id)
        inner = session.begin_nested()
        shop.send.delay_on_commit(3)
        inner.rollback()
        kept.append(shop.send.delay_on_commit(4).id)
    assert shop.ready == 0
    outer = session.begin_nested()
    with session.begin_nested():
        shop.send.delay_on_commit(5)
    outer.rollback()
    outer = session.begin_nested()
    session.connection().begin_nested()
    shop.send.delay_on_commit(6)
    outer.rollback()
    session.commit()
    shop.settles(3)
    assert "job.not_enqueued" not in caplog.text
    shop.services.journal.flush()
    with shop.services.store.read() as connection:
        found = connection.execute(text("SELECT id FROM nightshift_jobs ORDER BY id")).scalars().all()
    assert found == sorted(kept)


def test_an_outer_savepoint_is_rolled_back_while_an_inner_one_is_open(shop: Shop) -> None:
    with shop.db.engine.connect() as connection, connection.begin():
        outer = connection.begin_nested()
        shop.send.apply_async_on_commit((1,), session=connection)
        connection.begin_nested()
        shop.send.apply_async_on_commit((2,), session=connection)
        outer.rollback()
        shop.send.apply_async_on_commit((3,), session=connection)
    shop.settles(1)


def test_a_session_that_joins_an_outer_transaction(shop: Shop) -> None:
    for mode, ready in (("create_savepoint", 1), ("rollback_only", 2), ("conditional_savepoint", 3)):
        with shop.db.engine.connect() as connection:
            outer = connection.begin()
            session = Session(bind=connection, join_transaction_mode=mode)  # type: ignore[arg-type]
            shop.send.apply_async_on_commit((1,), session=session)
            session.commit()
            session.close()
            assert (shop.ready, shop.rows) == (ready - 1, 0)
            outer.commit()
        shop.settles(ready)


def test_tests_that_roll_an_outer_transaction_back(shop: Shop) -> None:
    with shop.db.engine.connect() as connection:
        outer = connection.begin()
        session = Session(bind=connection, join_transaction_mode="create_savepoint")
        shop.send.apply_async_on_commit((1,), session=session)
        session.commit()
        order(session)
        session.commit()
        session.close()
        outer.rollback()
    shop.send.delay_on_commit(1)
    shop.db.session.commit()
    shop.settles(1)


def test_a_session_controls_a_connection(shop: Shop) -> None:
    with shop.db.engine.connect() as connection:
        session = Session(bind=connection, join_transaction_mode="control_fully")
        for number in range(2):
            shop.send.apply_async_on_commit((number,), session=session)
            session.commit()
            shop.settles(number + 1)


@pytest.mark.parametrize("how", ["engine", "connection", "autobegin"])
def test_a_core_connection(shop: Shop, how: str) -> None:
    if how == "engine":
        with shop.db.engine.begin() as connection:
            shop.send.apply_async_on_commit((1,), session=connection)
            order(connection)
    elif how == "connection":
        with shop.db.engine.connect() as connection, connection.begin():
            shop.send.apply_async_on_commit((1,), session=connection)
    else:
        with shop.db.engine.connect() as connection:
            shop.send.apply_async_on_commit((1,), session=connection)
            assert connection.in_transaction()
            connection.commit()
            shop.send.apply_async_on_commit((2,), session=connection)
            connection.rollback()
    shop.settles(1)


def test_many_are_published_in_few_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    publish = shop.services.broker.publish_many

    def counted(envelopes: Sequence[Envelope], *given: Any, **named: Any) -> Iterator[int]:
        batches.append(len(envelopes))
        return publish(envelopes, *given, **named)

    monkeypatch.setattr(shop.services.broker, "publish_many", counted)
    ids = shop.send.enqueue_many_on_commit([(number,) for number in range(700)])
    single = shop.send.delay_on_commit(1000)
    later = shop.send.apply_async_on_commit((1001,), countdown=3600)
    assert len({*ids, single.id, later.id}) == 702
    shop.db.session.commit()
    assert batches == [500, 201, 1]
    shop.settles(701)


def test_sessions_of_all_kinds(shop: Shop) -> None:
    engine = shop.db.engine
    with Session(engine) as session, session.begin():
        shop.send.apply_async_on_commit((1,), session=session)
    registry = scoped_session(sessionmaker(engine))
    shop.send.apply_async_on_commit((2,), session=registry)
    registry.commit()
    registry.remove()
    with sessionmaker(engine).begin() as session:
        shop.send.apply_async_on_commit((3,), session=session)
    assert shop.ready == 3
    shop.settles(3)


def test_a_commit_that_fails(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    session = shop.db.session
    order(session)
    session.commit()
    shop.send.delay_on_commit(1)
    fail_at_commit(session.connection())
    with pytest.raises(Exception, match=r"FOREIGN KEY|foreign key"):
        session.commit()
    session.rollback()
    wait_for(lambda: "job.not_enqueued" in caplog.text, 10, "job.not_enqueued")
    assert (shop.ready, shop.rows) == (0, 0)


def fail_at_commit(connection: Connection) -> None:
    """Let the database refuse the commit, because of a constraint that it checks only then."""
    connection.exec_driver_sql(
        "CREATE TABLE lines (id INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    connection.exec_driver_sql("INSERT INTO lines VALUES (99)")


def test_countdown_counts_from_the_call(shop: Shop) -> None:
    called = utcnow()
    shop.send.apply_async_on_commit((1,), countdown=3600)
    answered = utcnow()
    wait_for(lambda: utcnow() - answered > timedelta(seconds=0.3), 5, "later")
    shop.db.session.commit()
    assert shop.services.journal.flush()
    with shop.services.store.read() as connection:
        (due,) = connection.execute(select(jobs_table.c.due_at)).scalars()
    assert called <= due - timedelta(hours=1) <= answered


def test_log_level_is_a_warning(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.send.delay_on_commit(1)
    shop.db.session.rollback()
    assert [each.levelno for each in caplog.records if "not_enqueued" in each.getMessage()] == [
        logging.WARNING
    ]
