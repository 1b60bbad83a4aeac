"""A small app with Flask-SQLAlchemy whose jobs wait for its transactions, and a look at what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, event, func, select, text

from flask_nightshift import Nightshift
from flask_nightshift.services import Services
from flask_nightshift.store.tables import outbox
from servers import wait_for


@dataclass
class Shop:
    """An app with Flask-SQLAlchemy, and what became of its jobs."""

    app: Flask
    db: SQLAlchemy
    services: Services
    send: Any

    @property
    def ready(self) -> int:
        """Jobs in the broker."""
        return self.services.broker.depths(["celery"])[0].ready

    @property
    def rows(self) -> int:
        """Committed rows of the outbox."""
        with self.services.outboxes[-1].read() as connection:
            return int(connection.execute(select(func.count()).select_from(outbox)).scalar_one())

    def close(self) -> None:
        """Close its connections."""
        with self.app.app_context():
            self.db.engine.dispose()
        self.services.close()

    def settles(self, ready: int, rows: int = 0) -> None:
        """Wait until that many jobs are in the broker, and that many rows in the outbox."""
        wait_for(lambda: (self.ready, self.rows) == (ready, rows), 10, f"{ready} jobs and {rows} rows")


def open_shop(folder: Path, broker: str, database: str, *, migrated: bool = True, **config: Any) -> Shop:
    """An app at the URLs ``broker`` and ``database``, with an empty table ``orders``."""
    app, db, jobs = Flask("shop", instance_path=str(folder)), SQLAlchemy(), Nightshift()
    app.config.update(TESTING=True, SQLALCHEMY_DATABASE_URI=database, NIGHTSHIFT_BROKER_URL=broker, **config)
    db.init_app(app)
    jobs.init_app(app)

    @jobs.task(name="shop.send")
    def send(number: int, other: Any = None) -> None:
        """Send."""

    services: Services = app.extensions["nightshift"]
    for store in services.outboxes if migrated else ():
        store.migrate()
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            begin_as_asked(db.engine)
        db.session.execute(text("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)"))
        db.session.commit()
    return Shop(app, db, services, send)


def database_of(request: pytest.FixtureRequest, kind: str) -> str:
    """The URL of a new database: ``postgres``, or ``sqlite`` in the app's instance folder."""
    return (
        str(request.getfixturevalue("postgres").fresh_url())
        if kind == "postgres"
        else "sqlite:///app.sqlite3"
    )


@contextmanager
def shops(
    folder: Path, broker: Callable[[], str], database: Callable[[], str]
) -> Iterator[Callable[..., Shop]]:
    """A factory of apps, which are closed at the end; ``broker()`` and ``database()`` give their URLs."""
    with ExitStack() as stack:

        def make(broker_url: str = "", **config: Any) -> Shop:
            shop = open_shop(folder, broker_url or broker(), database(), **config)
            stack.callback(shop.close)
            return shop

        yield make


def begin_as_asked(engine: Engine) -> None:
    """SQLAlchemy's recipe for savepoints on SQLite, whose driver otherwise begins too late, and constraints."""

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


__all__ = ["Shop", "database_of", "open_shop", "shops"]
