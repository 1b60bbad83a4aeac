"""How each task did, on both databases: in the read model, on the page and in the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from flask_nightshift import Actor
from flask_nightshift.domain.actor import everything
from flask_nightshift.domain.job import utcnow
from flask_nightshift.journal import BUCKETS, add_totals
from flask_nightshift.observe import tasks as read
from flask_nightshift.observe.tasks import Order
from flask_nightshift.observe.trends import Period
from flask_nightshift.store.tables import bucket_columns
from opsapp import Ops, opened
from servers import Valkey

HOSTILE = '<b onclick="x">\x1b[31m.task'


def who(_: Request) -> Actor | None:
    return everything("ada")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ops(request: pytest.FixtureRequest, valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    config: dict[str, Any] = {"NIGHTSHIFT_DASHBOARD_AUTH": who, "SECRET_KEY": "k"}
    if request.param == "postgres":
        config["NIGHTSHIFT_DATABASE_URL"] = request.getfixturevalue("postgres").fresh_url()
    with opened(tmp_path, valkey.fresh_url(), **config) as made:
        yield made


def ran(
    ops: Ops, task: str, outcome: str, count: int, each: float, ago: timedelta, queue: str = "mail"
) -> None:
    """``count`` attempts of ``each`` seconds ended ``ago``, after a wait of 20 ms."""
    row: dict[str, Any] = {
        "minute": (utcnow() - ago).replace(second=0, microsecond=0), "task": task, "queue": queue,
        "outcome": outcome, "worker": "worker@one", "count": count, "runtime_sum": each * count,
        "wait_sum": 0.02 * count,
    }  # fmt: skip
    for kind, value in (("runtime", each), ("wait", 0.02)):
        columns = bucket_columns(kind)
        row |= dict.fromkeys(columns, 0)
        at = next((n for n, bound in enumerate(BUCKETS) if value <= bound), len(BUCKETS))
        row[columns[at]] = count
    with ops.services.store.begin() as connection:
        add_totals(connection, [row])


@pytest.fixture
def filled(ops: Ops) -> Ops:
    minutes = timedelta(minutes=1)
    ran(ops, "mail.send", "succeeded", 90, 0.2, 5 * minutes)
    ran(ops, "mail.send", "retried", 6, 0.2, 7 * minutes, queue="slow")
    ran(ops, "mail.send", "dead", 4, 0.2, 9 * minutes)
    ran(ops, "report.make", "succeeded", 2, 200.0, 11 * minutes, queue="reports")
    ran(ops, HOSTILE, "skipped", 1, 0.001, 2 * minutes)
    ran(ops, "mail.send", "succeeded", 1000, 0.2, 300 * minutes)
    ran(ops, "old.one", "succeeded", 3, 1.0, timedelta(days=12))
    return ops


def test_each_task_has_its_counts_quantiles_and_time(filled: Ops) -> None:
    found = read.tasks(filled.services.store, Period.HOUR, utcnow())
    busiest, mail, odd = found.ordered(Order.BUSIEST)
    assert (busiest.task, busiest.seconds, busiest.queues) == ("report.make", 400.0, ("reports",))
    assert (mail.ended, mail.succeeded, mail.retried, mail.died, mail.others) == (100, 90, 6, 4, 0)
    assert mail.failed == pytest.approx(0.1)
    assert mail.queues == ("mail", "slow")
    assert mail.seconds == pytest.approx(20)
    assert 0.1 < (mail.runtime_p50 or 0) <= (mail.runtime_p95 or 0) <= 0.25
    assert 0.01 < (mail.wait_p95 or 0) <= 0.05
    assert (odd.ended, odd.others, odd.failed) == (1, 1, 0.0)
    assert found.ordered(Order.FAILING)[0].task == "mail.send"
    assert found.ordered(Order.SLOWEST)[0].task == "report.make"
    assert [row.task for row in found.ordered(Order.NAME)] == sorted(row.task for row in found.rows)


@pytest.mark.parametrize(("period", "ended"), [
    (Period.HOUR, {"mail.send": 100, "report.make": 2}),
    (Period.DAY, {"mail.send": 1100, "report.make": 2}),
    (Period.MONTH, {"mail.send": 1100, "report.make": 2, "old.one": 3}),
])  # fmt: skip
def test_the_period_decides(filled: Ops, period: Period, ended: dict[str, int]) -> None:
    found = read.tasks(filled.services.store, period, utcnow())
    assert {row.task: row.ended for row in found.rows if row.task != HOSTILE} == ended


def test_the_page_and_the_api_say_the_same(filled: Ops) -> None:
    client = filled.app.test_client()
    page = client.get("/nightshift/tasks?order=failing").text
    assert page.index(">mail.<wbr>send<") < page.index(">report.<wbr>make<")
    assert "<b onclick" not in page
    assert "\x1b" not in page
    assert "10 %" in page
    assert "6 min 40 s" in page
    assert "use one of hour, day, month" in client.get("/nightshift/tasks?period=week").text
    assert "use one of busiest, failing" in client.get("/nightshift/tasks?order=odd").text
    token = filled.json("token", "create", "a script", "--scope", "view")["token"]
    answer = client.get(
        "/nightshift/api/v1/tasks?order=failing", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["tasks"][0]["task"] == "mail.send"
    assert answer.get_json()["tasks"][0]["failed"] == pytest.approx(0.1)


def test_without_a_job_it_says_what_comes(ops: Ops) -> None:
    assert "No job ended in this time" in ops.app.test_client().get("/nightshift/tasks").text
