"""Jobs that are enqueued with a transaction: those that ran are those that were committed, whatever is killed.

``OUTBOX_KILLS`` (of web processes, default 40), ``OUTBOX_AWAY`` (seconds, default 5) and ``OUTBOX_RELAYS`` (that are
killed, default 2) set how much.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from flask_nightshift.outbox import claims
from flask_nightshift.store import Store
from places import APPS
from system import System, running

pytestmark = pytest.mark.timeout(600)
KILLS = int(os.environ.get("OUTBOX_KILLS", "40"))
AWAY = float(os.environ.get("OUTBOX_AWAY", "5"))
RELAYS = int(os.environ.get("OUTBOX_RELAYS", "2"))
PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]


class Orders:
    """Orders in a database, and a system whose jobs ship them."""

    def __init__(self, system: System, url: str, server: Any) -> None:
        self.system, self.url, self.server = system, url, server
        self.engine = create_engine(url)
        with self.engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
            else:
                connection.execute(text("CREATE TABLE orders (id SERIAL PRIMARY KEY)"))

    def write(self, *words: str, slow: str = "0") -> subprocess.Popen[str]:
        """A process that commits orders."""
        with (self.system.folder / "writer.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, str(APPS / "outboxapp.py"), *words],
                env={**self.system.env, "SLOW": slow}, text=True, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def committed(self) -> set[int]:
        with self.engine.connect() as connection:
            return set(connection.execute(text("SELECT id FROM orders")).scalars())

    @property
    def shipped(self) -> Counter[int]:
        """How often each was shipped, but for those that a broker delivered again as it lost an acknowledgement."""
        shipped: Counter[int] = Counter()
        for line in self.system.ledger.read_text().splitlines():
            order, *again = line.split()
            shipped[int(order)] += 0 if again else 1
        return shipped

    @property
    def waiting(self) -> int:
        store = Store(self.url)
        try:
            return claims.backlog(store).rows
        finally:
            store.close()

    def duplicates(self) -> int:
        """The publishes that were dropped; each has a line with the job's id."""
        logs = [self.system.folder / "writer.log", *(each.log_file for each in self.system.processes)]
        lines = [
            line for log in set(logs) for line in log.read_text().splitlines() if "job.duplicate" in line
        ]
        assert all("job_id" in line for line in lines)
        return len(lines)

    def all_ship(self, seconds: float) -> None:
        """Wait until no job waits and all orders are shipped, each once."""
        self.system.until(lambda: not self.waiting, seconds, "rows wait in the outbox")
        committed = self.committed
        self.system.until(lambda: self.shipped.keys() >= committed, 60, "orders were not shipped")
        time.sleep(1)  # for a second one that should not come
        assert committed
        assert self.shipped.keys() == committed, "a job ran whose order was not committed"
        assert not [order for order, times in self.shipped.items() if times > 1]


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def orders(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Orders]:
    broker, database = request.param
    server = request.getfixturevalue(broker)
    url = f"sqlite:///{tmp_path}/orders.sqlite3"
    if database == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
    with running(tmp_path, server.fresh_url(), FLASK_APP="outboxapp", ORDERS_URL=url) as system:
        yield Orders(system, url, server)


def test_a_web_process_is_killed_between_commit_and_publish(orders: Orders) -> None:
    orders.system.worker("--concurrency", "2")
    assert orders.write("kill", str(KILLS), "1", slow="0.02").wait(400) == 0
    left = orders.waiting
    assert left, "no kill came between a commit and its publish"
    orders.all_ship(90)
    print(
        f"{len(orders.committed)} orders, {left} left to the relay, {orders.duplicates()} duplicates dropped"
    )


def test_the_broker_is_away_under_load(orders: Orders) -> None:
    orders.system.worker("--concurrency", "2")
    writer = orders.write("load", str(int(AWAY) + 10))
    orders.system.until(lambda: len(orders.shipped) > 20, 60, "jobs run")
    orders.server.stop()
    time.sleep(AWAY)
    orders.server.ensure()
    assert writer.wait(120) == 0
    orders.all_ship(120)
    print(f"{len(orders.committed)} orders, {orders.duplicates()} duplicates dropped")


def _has_begun(orders: Orders, before: int) -> bool:
    return orders.waiting < before


def test_the_relay_is_killed(orders: Orders) -> None:
    rows = max(1000 * RELAYS, 2000)
    assert orders.write("leave", str(rows)).wait(120) == 0
    assert orders.waiting == rows
    chance = random.Random(2)
    for number in range(RELAYS):
        before = orders.waiting
        beat = orders.system._start(
            f"beat{number}", [sys.executable, "-m", "flask", "jobs", "beat"], {"SLOW": "0.02"}
        )
        orders.system.until(partial(beat.lines, "beat.started"), 40, "beat has not started")
        orders.system.until(partial(_has_begun, orders, before), 40, "it publishes nothing")
        time.sleep(chance.uniform(0.0, 0.3))
        beat.kill_tree()
    assert 0 < orders.waiting < rows, "a kill came while a relay published"
    orders.system.worker("--concurrency", "2")
    orders.all_ship(120)
    print(f"{len(orders.committed)} orders, {orders.duplicates()} duplicates dropped")
