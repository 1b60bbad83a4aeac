"""``python -m benchmarks.outbox``: what the outbox and unique jobs cost in this process.

It prints a table for each broker and database:

    insert            a transaction that inserts one order
    delay             the same, then delay()
    delay_on_commit   the same with delay_on_commit(), which adds a row and its deletion
    unique            as delay, but each job is unique, with a key of its own
    relay             rows per second of one relay, with a backlog that other processes have committed

Rounds are interleaved. ``+ old snapshot``: another transaction has been open since before ``CHURN`` jobs, so that the
database cannot clean up after them, and for ``OPEN`` seconds at least; with 0, only as long as those jobs take.
``ROUNDS`` (5), ``SECONDS`` of each measurement (1), ``CHURN`` (20000), ``OPEN`` (0; half an hour is 1800), ``ROWS`` of
the backlog (20000), ``SERVER`` (redis), ``DATABASE`` (sqlite,postgres).
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from flask_nightshift import Nightshift
from flask_nightshift.enqueue.composed import collected
from flask_nightshift.outbox import claims, relay, sightings
from flask_nightshift.outbox.rows import row_of
from flask_nightshift.outbox.writing import write
from flask_nightshift.services import Services, current

from .servers import RabbitMQ, Redis, Valkey, real

SERVERS: dict[str, Any] = {"redis": Redis, "valkey": Valkey, "rabbitmq": RabbitMQ}
ORDER = text("INSERT INTO orders (customer) VALUES (7)")


class Shop:
    """An app with orders in ``database`` and jobs in the broker at ``url``."""

    def __init__(self, url: str, database: str, folder: str) -> None:
        self.app, self.db, jobs = Flask("shop", instance_path=folder), SQLAlchemy(), Nightshift()
        self.app.config.update(SQLALCHEMY_DATABASE_URI=database, NIGHTSHIFT_BROKER_URL=url)
        self.db.init_app(self.app)
        jobs.init_app(self.app)

        @jobs.task(name="shop.ship")
        def ship(order: int) -> None:
            """Ship."""

        @jobs.task(name="shop.bill", unique="until_done", unique_key=lambda order: order)
        def bill(order: int) -> None:
            """Bill."""

        self.ship, self.bill = ship, bill
        self._orders = itertools.count()

    def prepare(self) -> None:
        """Create the tables."""
        current().store.migrate()
        serial = "SERIAL" if self.db.engine.dialect.name == "postgresql" else "INTEGER"
        self.db.session.execute(text(f"CREATE TABLE orders (id {serial} PRIMARY KEY, customer INTEGER)"))
        self.db.session.commit()
        if serial == "INTEGER":
            self.db.session.execute(text("PRAGMA journal_mode=wal"))
            self.db.session.commit()

    def insert(self) -> None:
        self.db.session.execute(ORDER)
        self.db.session.commit()

    def delay(self) -> None:
        self.insert()
        self.ship.delay(7)

    def unique(self) -> None:
        self.insert()
        self.bill.delay(next(self._orders))

    def delay_on_commit(self) -> None:
        self.db.session.execute(ORDER)
        self.ship.delay_on_commit(7)
        self.db.session.commit()


def rate(call: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Calls per second, and microseconds of CPU time (of this process, with its threads) for each."""
    begun, used, count = time.perf_counter(), time.process_time(), 0
    while (taken := time.perf_counter() - begun) < seconds:
        for _ in range(20):
            call()
        count += 20
    return count / taken, (time.process_time() - used) / count * 1e6


def compare(shop: Shop, rounds: int, seconds: float, note: str = "") -> None:
    """Measure the ways in turn."""
    ways = {
        "insert": shop.insert,
        "delay": shop.delay,
        "delay_on_commit": shop.delay_on_commit,
        "unique": shop.unique,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(rate(way, seconds))
            current().journal.flush(timeout=20)
    for name, pairs in found.items():
        per_second, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"  {name + note:<36}{per_second:>9,.0f} /s {1e6 / per_second:>9,.0f} us {cpu:>9,.0f} us CPU")


@contextmanager
def old_snapshot(shop: Shop) -> Iterator[None]:
    """A transaction of another connection that has read and goes on."""
    with shop.db.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        connection.execute(text("SELECT count(*) FROM orders"))
        yield


def churn(shop: Shop, jobs: int, seconds: float) -> None:
    """So many jobs, in so many seconds at least."""
    begun, batches = time.perf_counter(), max(jobs // 100, 1)
    for number in range(batches):
        time.sleep(max(0.0, begun + seconds * (number + 1) / batches - time.perf_counter()))
        shop.db.session.execute(ORDER)
        shop.ship.enqueue_many_on_commit([(7,)] * 100)
        shop.db.session.commit()
    current().journal.flush(timeout=60)


def relay_rate(services: Services, rows: int) -> None:
    """Let one relay publish a backlog that it has seen long ago."""
    template = services.celery.tasks["shop.ship"]
    for _ in range(rows // 500):
        with collected() as jobs:
            template.enqueue_many([(7,)] * 500)
        made = [row_of(job.envelope, task="shop.ship", queue=job.queue, due=None) for job in jobs]
        with services.store.begin(timeout=30) as connection:
            write(connection, made)
    sightings.WAIT = relay.LOOK_EVERY = 0.0
    (one,) = services.relays("bench")
    begun, used = time.perf_counter(), time.process_time()
    while claims.backlog(services.store).rows:
        one.turn()
    taken, cpu = time.perf_counter() - begun, time.process_time() - used
    print(f"  {'relay':<36}{rows / taken:>9,.0f} rows/s {cpu / rows * 1e6:>20,.0f} us CPU")


def main() -> None:
    """Measure what the environment names."""
    rounds, seconds = int(os.environ.get("ROUNDS", "5")), float(os.environ.get("SECONDS", "1"))
    open_for = float(os.environ.get("OPEN", "0"))
    jobs, rows = int(os.environ.get("CHURN", "20000")), int(os.environ.get("ROWS", "20000"))
    postgres = real.Postgres()
    databases = os.environ.get("DATABASE", "sqlite,postgres").split(",")
    if "postgres" in databases:
        postgres.start()
    for name in os.environ.get("SERVER", "redis").split(","):
        server = SERVERS[name]()
        server.start()
        for database in databases:
            with tempfile.TemporaryDirectory() as folder:
                url = postgres.fresh_url() if database == "postgres" else f"sqlite:///{Path(folder)}/shop.db"
                shop = Shop(server.fresh_url(), url, folder)
                with shop.app.app_context():
                    shop.prepare()
                    print(f"{name}, {database}:")
                    compare(shop, rounds, seconds)
                    with old_snapshot(shop):
                        churn(shop, jobs, open_for)
                        compare(shop, rounds, seconds, " + old snapshot")
                    relay_rate(current(), rows)
                    current().journal.flush(timeout=60)
                    current().close()
        server.close()
    postgres.close()


if __name__ == "__main__":
    main()
