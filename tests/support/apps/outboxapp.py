"""Orders, and a job for each, enqueued with the order's transaction; the process can be killed between the two.

    python outboxapp.py kill KILLS SEED      commit orders in forked children, and kill each at a random moment
    python outboxapp.py load SECONDS         commit orders for so long
    python outboxapp.py leave COUNT          commit orders whose jobs are not published

``SLOW`` (seconds) is the longest pause before and after each publish from an outbox. Each way prints how many orders it
committed, as far as it lived to see it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from flask_nightshift import BrokerUnavailable, Nightshift
from flask_nightshift.outbox import relay
from flask_nightshift.services import current

db = SQLAlchemy()
jobs = Nightshift()


@jobs.task(name="order.ship", bind=True)
def ship(self: Any, order: int) -> None:
    """Write a line; where the broker delivers a message again, the line says so."""
    again = " again" if self.request.delivery_info.get("redelivered") else ""
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{order}{again}\n")


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["ORDERS_URL"]
    db.init_app(app)
    jobs.init_app(app)
    if slow := float(os.environ.get("SLOW", "0")):
        relay.CHUNK = 50
        _slow_down(app.extensions["nightshift"].broker, slow)
    return app


def _slow_down(broker: Any, slow: float) -> None:
    publish_many = broker.publish_many

    def slowly(*args: Any, from_outbox: bool = False, **options: Any) -> Iterator[int]:
        if from_outbox:
            time.sleep(random.uniform(0, slow))
        yield from publish_many(*args, from_outbox=from_outbox, **options)
        if from_outbox:
            time.sleep(random.uniform(0, slow))

    broker.publish_many = slowly


def commit_order() -> None:
    order = db.session.execute(text("INSERT INTO orders DEFAULT VALUES RETURNING id")).scalar_one()
    ship.delay_on_commit(order)
    db.session.commit()


def kill(kills: int, seed: int) -> None:
    app, chance = create_app(), random.Random(seed)
    with app.app_context():
        commit_order()  # imports are done before the forks
        current().close()
        db.engine.dispose()
    for _ in range(kills):
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            random.seed(chance.random())
            with app.app_context():
                while True:
                    commit_order()
                    os.write(writer, b".")
        os.read(reader, 1)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


def load(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        commit_order()


def leave(count: int) -> None:
    def refuse(*args: Any, **options: Any) -> Iterator[int]:
        raise BrokerUnavailable("a test keeps it away")

    current().broker.publish_many = refuse  # type: ignore[method-assign]
    for _ in range(count // 100):
        orders = [
            db.session.execute(text("INSERT INTO orders DEFAULT VALUES RETURNING id")).scalar_one()
            for _ in range(100)
        ]
        ship.enqueue_many_on_commit([(order,) for order in orders])
        db.session.commit()


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    if what == "kill":
        kill(*map(int, numbers))
    else:
        with create_app().app_context():
            {"load": load, "leave": leave}[what](int(numbers[0]))
            current().close()
