"""What may wait for a transaction, by which calls and in which sessions, and what is refused by name."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group, signals
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from flask_nightshift import Nightshift
from flask_nightshift.errors import BrokerUnavailable, DatabaseUnavailable, Unsupported
from flask_nightshift.operations.jobs import find
from flask_nightshift.options.call import UnencodableArgument
from flask_nightshift.options.publish import InvalidOption
from outbox_shop import Shop, database_of, open_shop, shops
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


# canvas


def test_signatures_chains_and_groups(shop: Shop) -> None:
    send = shop.send
    send.s(1).delay_on_commit()
    send.s(1).apply_async_on_commit(countdown=0)
    chain(send.si(1), group(send.si(2), send.si(3)), send.si(4)).delay_on_commit()
    found = group(send.si(1), chain(send.si(2), send.si(3))).apply_async_on_commit()
    assert len(found.results) == 2
    assert shop.ready == 0
    shop.db.session.commit()
    shop.settles(5)


def test_a_chord_is_refused_and_nothing_waits(shop: Shop) -> None:
    send = shop.send
    for canvas in (
        chord([send.s(1), send.s(2)], send.si(3)),
        chain(group(send.si(1), send.si(2)), send.si(3)),
        group(send.si(1), chord([send.s(1), send.s(2)], send.si(3))),
    ):
        with pytest.raises(Unsupported, match="cannot wait for a transaction"):
            canvas.delay_on_commit()
    shop.db.session.commit()
    assert (shop.ready, shop.rows) == (0, 0)


def test_a_task_by_its_name(shop: Shop) -> None:
    celery: Any = shop.services.celery
    celery.send_task_on_commit("shop.send", (1,))
    celery.send_task_on_commit("of.somebody.else", (1,), queue="celery")
    shop.db.session.commit()
    shop.settles(2)


# NIGHTSHIFT_ENQUEUE


def test_all_jobs_of_a_transaction_wait_if_that_is_set(
    make: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    shop = make(NIGHTSHIFT_ENQUEUE="on_commit")
    shop.send.delay(0)
    with shop.app.app_context():
        shop.send.delay(1)
        assert shop.ready == 2
        shop.db.session.execute(text("SELECT 1"))
        shop.send.delay(2)
        shop.send.apply_async((3,))
        shop.send.enqueue_many([(4,), (5,)])
        assert shop.ready == 2
        shop.db.session.commit()
        assert shop.ready == 6
        shop.send.delay(6)
        assert shop.ready == 7
        shop.db.session.execute(text("SELECT 1"))
        lost = shop.send.delay(7)
    assert shop.ready == 7
    assert f"job_ids={lost.id}" in caplog.text


def test_at_once_is_the_default(shop: Shop) -> None:
    shop.db.session.execute(text("SELECT 1"))
    shop.send.delay(1)
    assert shop.ready == 1


# refused by name


def test_an_argument_that_cannot_be_encoded_is_refused_at_the_call(shop: Shop) -> None:
    with pytest.raises(UnencodableArgument, match="other"):
        shop.send.delay_on_commit(1, other=object())
    shop.send.delay_on_commit(2)
    shop.db.session.commit()
    shop.settles(1)


def test_what_needs_celerys_producer_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidOption, match=r"exchange=.*waits for a transaction"):
        shop.send.apply_async_on_commit((1,), exchange="other", routing_key="x")
    with pytest.raises(InvalidOption, match="published over another"):
        shop.send.apply_async_on_commit((1,), producer=object())


@pytest.mark.parametrize("given", [object(), "session", 7])
def test_what_is_no_session(shop: Shop, given: Any) -> None:
    with pytest.raises(InvalidOption, match="Session, scoped_session or Connection"):
        shop.send.apply_async_on_commit((1,), session=given)


def test_a_session_without_a_default_bind(shop: Shop) -> None:
    with Session() as session, pytest.raises(InvalidOption, match="no default bind"):
        shop.send.apply_async_on_commit((1,), session=session)


def test_an_app_without_flask_sqlalchemy(tmp_path: Path) -> None:
    app, jobs = Flask("bare", instance_path=str(tmp_path)), Nightshift()
    app.config.update(NIGHTSHIFT_BROKER_URL="memory://", TESTING=True)
    jobs.init_app(app)

    @jobs.task(name="bare.send")
    def send() -> None:
        """Send."""

    with app.app_context(), pytest.raises(InvalidOption, match="does not use Flask-SQLAlchemy"):
        send.delay_on_commit()


def test_another_database_is_refused_with_its_url(shop: Shop, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/elsewhere.sqlite3")
    with engine.begin() as connection, pytest.raises(InvalidOption, match=r"elsewhere.*Known are"):
        shop.send.apply_async_on_commit((1,), session=connection)
    engine.dispose()


def test_a_database_that_was_not_migrated(make: Callable[..., Shop]) -> None:
    shop = make(migrated=False)
    with shop.app.app_context(), pytest.raises(DatabaseUnavailable, match="flask jobs migrate"):
        shop.send.delay_on_commit(1)


@pytest.mark.postgres
def test_another_name_of_the_same_server(shop: Shop) -> None:
    url = shop.db.engine.url
    if url.get_backend_name() != "postgresql":
        pytest.skip("SQLite compares files")
    other = create_engine(url.set(host="localhost" if url.host != "localhost" else "127.0.0.1"))
    with other.begin() as connection:
        shop.send.apply_async_on_commit((1,), session=connection)
    other.dispose()
    shop.settles(1)


@pytest.mark.postgres
def test_an_asynchronous_session(shop: Shop) -> None:
    if shop.db.engine.dialect.name != "postgresql":
        pytest.skip("there is no asynchronous driver for SQLite here")

    async def enqueue() -> None:
        engine = create_async_engine(shop.db.engine.url.set(drivername="postgresql+psycopg_async"))
        async with AsyncSession(engine) as session:
            with pytest.raises(InvalidOption, match="run_sync"):
                shop.send.apply_async_on_commit((1,), session=session)
            await session.run_sync(lambda inner: shop.send.apply_async_on_commit((2,), session=inner))
            await session.commit()
            await session.run_sync(lambda inner: shop.send.apply_async_on_commit((3,), session=inner))
            await session.rollback()
        async with engine.begin() as connection:
            await connection.run_sync(lambda inner: shop.send.apply_async_on_commit((4,), session=inner))
        await engine.dispose()

    asyncio.run(enqueue())
    shop.settles(2)


def test_a_server_that_forks_after_it_has_used_the_outbox(make: Callable[..., Shop], valkey: Any) -> None:
    shop = make(valkey.fresh_url())
    with shop.app.app_context():
        shop.send.delay_on_commit(1)
        shop.db.session.commit()
        shop.settles(1)
        shop.db.session.remove()
        shop.db.engine.dispose()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            with shop.app.app_context():
                shop.send.delay_on_commit(2)
                shop.db.session.commit()
                with shop.db.engine.begin() as connection:
                    shop.send.apply_async_on_commit((3,), session=connection)
                wait_for(lambda: (shop.ready, shop.rows) == (3, 0), 10, "3 jobs")
            failed = 0
        finally:
            os._exit(failed)
    assert os.waitpid(child, 0)[1] == 0
    shop.settles(3)


# where rows cannot be


def test_a_database_in_memory_needs_no_outbox(tmp_path: Path) -> None:
    shop = open_shop(
        tmp_path,
        "memory://",
        "sqlite://",
        migrated=False,
        NIGHTSHIFT_DATABASE_URL="sqlite:///history.sqlite3",
    )
    shop.services.store.migrate()
    with shop.app.app_context():
        shop.send.delay_on_commit(1)
        shop.db.session.rollback()
        shop.send.delay_on_commit(2)
        assert shop.ready == 0
        shop.db.session.commit()
        assert shop.ready == 1
    shop.close()


def test_history_elsewhere(make: Callable[..., Shop]) -> None:
    shop = make(NIGHTSHIFT_DATABASE_URL="sqlite:///history.sqlite3")
    assert len(shop.services.outboxes) == 2
    with shop.app.app_context():
        result = shop.send.delay_on_commit(1)
        shop.db.session.commit()
    shop.settles(1)
    shop.services.journal.flush()
    with shop.services.store.read() as connection:
        assert connection.execute(text("SELECT id FROM nightshift_jobs")).scalars().all() == [result.id]


# signals and failures


def test_signals_come_before_the_row_and_after_the_publish(shop: Shop) -> None:
    heard: list[str] = []

    def before(headers: Any, **_: Any) -> None:
        headers["tenant"] = "7"
        heard.append("before")

    def after(headers: Any, **_: Any) -> None:
        heard.append(f"after {headers['tenant']}")

    with shop.app.app_context():
        signals.before_task_publish.connect(before)
        signals.after_task_publish.connect(after)
        try:
            shop.send.delay_on_commit(1)
            assert heard == ["before"]
            shop.db.session.commit()
        finally:
            signals.before_task_publish.disconnect(before)
            signals.after_task_publish.disconnect(after)
    assert heard == ["before", "after 7"]


def test_without_a_broker_the_row_stays_and_commit_raises_nothing(
    make: Callable[..., Shop], valkey: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = make(valkey.fresh_url())
    with shop.app.app_context():
        valkey.stop()
        result = shop.send.apply_async_on_commit((1,), {"other": 2}, tags=["new"])
        with caplog.at_level(logging.WARNING):
            shop.db.session.commit()
        assert "outbox.left_to_relay" in caplog.text
        assert shop.rows == 1
        found = find(shop.services, result.id)
        assert (found.args, found.kwargs, found.tags) == ("(1,)", "{'other': 2}", ("new",))
        with pytest.raises(BrokerUnavailable):
            shop.send.delay(2)
        valkey.start()
    relays = shop.services.relays("test")
    for relay in relays:
        relay.start()
    wait_for(lambda: (shop.ready, shop.rows) == (1, 0), 30, f"the relay publishes {result.id}")
