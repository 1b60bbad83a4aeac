"""What surrounds a commit does not hold it up: other transactions, a frozen broker, other binds, two phases."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import signals
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from flask_nightshift.options.publish import InvalidOption
from flask_nightshift.outbox import relay, sightings
from outbox_shop import Shop, database_of, shops
from servers import wait_for

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=DATABASES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    """A factory of apps, by default with a broker in memory."""
    with shops(tmp_path, lambda: "memory://", partial(database_of, request, request.param)) as made:
        yield made


@pytest.fixture
def shop(make: Callable[..., Shop]) -> Iterator[Shop]:
    """An app, in its context."""
    made = make()
    with made.app.app_context():
        yield made


def order(session: Any, number: int) -> None:
    session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})


# other transactions


def test_the_next_transaction_of_the_same_thread_is_open_while_rows_are_deleted(shop: Shop) -> None:
    shop.send.delay_on_commit(1)
    shop.db.session.commit()
    order(shop.db.session, 1)  # on SQLite, nobody else writes now
    assert shop.ready == 1
    shop.send.delay_on_commit(2)
    started = time.monotonic()
    shop.db.session.commit()
    assert time.monotonic() - started < 1
    shop.settles(2)


def test_another_threads_write_transaction_only_delays_the_deletion(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, may_end = threading.Event(), threading.Event()

    def write() -> None:
        with shop.app.app_context():
            order(shop.db.session, 1)
            written.set()
            assert may_end.wait(10)
            shop.db.session.commit()

    def publish_meanwhile(*given: Any, **named: Any) -> Any:
        other.start()
        assert written.wait(10)
        return publish(*given, **named)

    publish, other = shop.services.broker.publish_many, threading.Thread(target=write)
    shop.send.enqueue_many_on_commit([(1,), (2,)])
    monkeypatch.setattr(shop.services.broker, "publish_many", publish_meanwhile)
    shop.db.session.commit()
    try:
        assert shop.ready == 2  # published, whoever writes
        if shop.db.engine.dialect.name == "sqlite":
            assert not shop.services.journal.flush(0.3)
            assert shop.rows == 2
        else:
            shop.settles(2)
    finally:
        may_end.set()
        other.join(10)
    shop.settles(2)
    assert shop.db.session.execute(text("SELECT count(*) FROM orders")).scalar_one() == 1


@pytest.mark.postgres
def test_two_phases_of_a_session(shop: Shop) -> None:
    needs_two_phases(shop)
    with Session(shop.db.engine, twophase=True) as session:
        shop.send.apply_async_on_commit((1,), session=session)
        order(session, 1)
        session.prepare()
        assert (shop.ready, shop.rows) == (0, 0)
        session.commit()
    shop.settles(1)


@pytest.mark.postgres
def test_two_phases_of_a_connection(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    needs_two_phases(shop)
    with shop.db.engine.connect() as connection:
        with connection.begin_twophase() as transaction:
            shop.send.apply_async_on_commit((1,), session=connection)
            transaction.prepare()
            assert (shop.ready, shop.rows) == (0, 0)
            transaction.commit()
        shop.settles(1)
        transaction = connection.begin_twophase()
        lost = shop.send.apply_async_on_commit((2,), session=connection)
        transaction.prepare()
        transaction.rollback()
    assert f"job_ids={lost.id}" in caplog.text
    assert (shop.ready, shop.rows) == (1, 0)


def needs_two_phases(shop: Shop) -> None:
    if shop.db.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no two-phase commit")


def test_a_frozen_broker_delays_a_commit_by_less_than_three_seconds(
    make: Callable[..., Shop], valkey: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = make(valkey.fresh_url())
    with shop.app.app_context():
        shop.send.delay_on_commit(1)
        shop.db.session.commit()
        shop.settles(1)
        valkey.freeze()
        result = shop.send.delay_on_commit(2)
        started = time.monotonic()
        shop.db.session.commit()
        assert time.monotonic() - started < 3.5
        assert "outbox.left_to_relay" in caplog.text
        order(shop.db.session, 1)
        shop.db.session.commit()
        assert shop.rows == 1, result.id
        valkey.thaw()


def test_many_slow_publishes_delay_a_commit_by_less_than_three_seconds(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish = shop.services.broker.publish_many

    def slowly(*given: Any, **named: Any) -> Any:
        time.sleep(0.4)
        return publish(*given, **named)

    monkeypatch.setattr(shop.services.broker, "publish_many", slowly)
    shop.send.enqueue_many_on_commit([(number,) for number in range(6000)])
    started = time.monotonic()
    shop.db.session.commit()
    assert time.monotonic() - started < 3
    shop.services.journal.flush()
    assert shop.ready >= 500
    assert shop.rows == 6000 - shop.ready
    assert "outbox.left_to_relay" in caplog.text


# transactions that the database does not have


def test_autocommit_is_no_transaction_to_wait_for(shop: Shop) -> None:
    url = shop.db.engine.url
    made, plain = create_engine(url, isolation_level="AUTOCOMMIT"), create_engine(url)
    for engine in (made, plain.execution_options(isolation_level="AUTOCOMMIT")):
        for caller in (Connection(engine), Session(engine)):
            with caller, pytest.raises(InvalidOption, match="in AUTOCOMMIT, so it has no transaction"):
                shop.send.apply_async_on_commit((1,), session=caller)
    made.dispose()
    plain.dispose()
    assert (shop.ready, shop.rows) == (0, 0)


def test_a_rollback_that_comes_too_late_does_not_deny_jobs_that_are_committed(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    with shop.db.engine.connect() as connection:
        shop.send.apply_async_on_commit((1,), session=connection)
        connection.exec_driver_sql("COMMIT")
    shop.settles(1)
    plain = create_engine(shop.db.engine.url)
    with Session(plain) as session:
        with session.begin_nested():  # on SQLite, its driver begins and commits with the savepoint
            shop.send.apply_async_on_commit((2,), session=session)
            order(session, 1)
        session.rollback()
        orders = session.execute(text("SELECT count(*) FROM orders")).scalar_one()
    plain.dispose()
    shop.settles(1 + orders)
    assert caplog.text.count("job.not_enqueued") == 1 - orders
    caplog.clear()
    with shop.db.engine.connect() as connection:
        lost = shop.send.apply_async_on_commit((3,), session=connection)
        connection.exec_driver_sql("ROLLBACK")
    wait_for(lambda: f"job_ids={lost.id}" in caplog.text, 5, "it is said")
    shop.settles(1 + orders)


# binds


def test_with_binds_the_outbox_is_in_the_default_one(make: Callable[..., Shop], tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path}/bind.sqlite3"
    shop = make(SQLALCHEMY_BINDS={"other": elsewhere})
    with shop.app.app_context():
        other = shop.db.engines["other"]
        with other.begin() as connection:
            connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY)"))
        session = shop.db.session
        session.execute(text("INSERT INTO notes VALUES (1)"), bind_arguments={"bind": other})
        shop.send.delay_on_commit(1)
        session.commit()
        assert shop.ready == 1
        shop.settles(1)
        with Session(other) as bound, pytest.raises(InvalidOption, match=r"bind\.sqlite3.*Known are"):
            shop.send.apply_async_on_commit((1,), session=bound)
        with Session(binds={}) as unbound, pytest.raises(InvalidOption, match="no default bind"):
            shop.send.apply_async_on_commit((1,), session=unbound)
        other.dispose()


# who is told


@pytest.mark.parametrize("kind", [Connection, Session])
def test_what_is_dropped_without_a_commit_is_said(
    shop: Shop, caplog: pytest.LogCaptureFixture, kind: type
) -> None:
    caller = kind(shop.db.engine)
    result = shop.send.apply_async_on_commit((1,), session=caller)
    del caller
    gc.collect()
    assert f"job_ids={result.id}" in caplog.text
    caplog.clear()
    caller = kind(shop.db.engine)
    shop.send.apply_async_on_commit((2,), session=caller)
    caller.commit()
    del caller
    gc.collect()
    shop.settles(1)
    assert "job.not_enqueued" not in caplog.text


def test_after_task_publish_is_sent_where_the_job_was_enqueued_and_history_knows_it_from_the_relay(
    make: Callable[..., Shop], valkey: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(sightings, "WAIT", 0.1)
    shop, heard = make(valkey.fresh_url()), []

    def after(headers: Any, **_: Any) -> None:
        heard.append(headers["id"])

    signals.after_task_publish.connect(after)
    try:
        with shop.app.app_context():
            valkey.stop()
            result = shop.send.delay_on_commit(1)
            shop.db.session.commit()
            valkey.start()
        assert heard == []
        relays = shop.services.relays("test")
        with contextlib.ExitStack() as stack:
            for each in relays:
                stack.callback(each.stop)
                each.start()
            shop.settles(1)
    finally:
        signals.after_task_publish.disconnect(after)
    assert heard == []
    assert shop.services.journal.flush()
    with shop.services.store.read() as connection:
        rows = connection.execute(text("SELECT id, state FROM nightshift_jobs")).all()
    assert rows == [(result.id, "queued")]
