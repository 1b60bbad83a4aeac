"""A real Prometheus watches a real system: break a part, and its alert fires; mend it, and the alert clears.

Prometheus uses the rules of ``monitoring/alerts.yml`` with short times (``prometheus_server.py``). The dashboard's
queries run against it too. Grafana is not started.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from monitoring import panels

from prometheus_server import WINDOW, Prometheus
from servers import Postgres, RabbitMQ, Server, wait_for
from system import Process, System, running

TOKEN = "s3cret-metrics"
FIRES = 60.0
"""Seconds; a worker's heartbeat counts for 15."""


@dataclass
class Site:
    """A system, its broker, and the Prometheus that watches it."""

    system: System
    broker: Server
    prometheus: Prometheus
    processes: dict[str, Process] = field(default_factory=dict)

    def begin(self, name: str) -> None:
        started = self.system.beat() if name == "beat" else self.system.worker("--concurrency", "2")
        self.processes[name] = started

    def enqueue(self, name: str, count: int = 1, **options: Any) -> None:
        self.post(f"/enqueue/{name}?count={count}", **options)

    def post(self, path: str, **body: Any) -> None:
        assert self.system.http is not None
        answer = self.system.http.post(path, json=body)
        assert answer.status_code == 202, answer.text

    def signal_web(self, number: int) -> None:
        """Send a signal to gunicorn and its worker."""
        parent = psutil.Process(self.processes["web"].popen.pid)
        for process in (parent, *parent.children()):
            process.send_signal(number)

    def fires(self, *alerts: str) -> None:
        wait_for(lambda: {*alerts} <= self.prometheus.firing(), FIRES, f"{alerts} do not fire")

    def clears(self, *alerts: str) -> None:
        wait_for(lambda: not {*alerts} & self.prometheus.firing(), FIRES, f"{alerts} do not clear")


@pytest.fixture(scope="module", params=["valkey", pytest.param("rabbitmq", marks=pytest.mark.thorough)])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    broker: Server = request.getfixturevalue(request.param)
    database: Postgres = request.getfixturevalue("postgres")
    with ExitStack() as stack:
        settings = {
            "FLASK_APP": "alertsapp",
            "NIGHTSHIFT_DATABASE_URL": database.fresh_url(),
            "NIGHTSHIFT_HTTP_ACCESS": "token",
            "NIGHTSHIFT_HTTP_TOKEN": TOKEN,
            "NIGHTSHIFT_SCHEDULE": '{"tick": {"task": "alert.succeed", "schedule": 1}}',
            "MAX_RECORDS": "20",
        }
        folder: Path = tmp_path_factory.mktemp("alerts")
        system = stack.enter_context(running(folder, broker.fresh_url(), **settings))
        web = system.web()
        assert system.http is not None
        prometheus = Prometheus(str(system.http.base_url.netloc.decode()), TOKEN)
        stack.callback(prometheus.close)
        prometheus.start()
        made = Site(system, broker, prometheus, {"web": web})
        made.begin("worker")
        made.begin("beat")
        for name in ("succeed", "fail", "flaky"):
            made.enqueue(name, 2)
        made.enqueue("succeed", 1, countdown=3600)
        yield made


def test_every_query_of_the_dashboard_returns_data(site: Site) -> None:
    wait_for(
        lambda: site.prometheus.value("sum(nightshift_dead_letters)") == 4, 60, "the jobs have not ended"
    )
    for panel in (panel for row in panels.ROWS for panel in row.panels if not panel.may_be_empty):
        for expr in queries(panel):
            wait_for(lambda: site.prometheus.query(expr), 20, f"{panel.title} shows nothing: {expr}")  # noqa: B023


def queries(panel: panels.Panel) -> Iterator[str]:
    """The panel's queries, with values for the dashboard's variables."""
    values = {'"$job"': '"shop"', "$queue": ".*", "$task": ".*", "$__rate_interval": f"{WINDOW}s"}
    for query in panel.queries:
        expr = query.expr
        for variable, value in values.items():
            expr = expr.replace(variable, value)
        assert "$" not in expr
        yield expr


def have_data(site: Site) -> set[bool]:
    """Whether the panels that may be empty have data."""
    empty = [panel for row in panels.ROWS for panel in row.panels if panel.may_be_empty]
    assert empty
    return {bool(site.prometheus.query(expr)) for panel in empty for expr in queries(panel)}


def test_jobs_that_fail(site: Site) -> None:
    site.enqueue("fail", 6)
    site.fires("NightshiftDeadLettersGrowing", "NightshiftFailureRatio")
    site.clears("NightshiftDeadLettersGrowing", "NightshiftFailureRatio")


def test_nothing_fires_in_a_healthy_system(site: Site) -> None:
    assert site.prometheus.value("sum(nightshift_workers)") == 1
    wait_for(lambda: site.prometheus.firing() == set(), FIRES, "something fires")


def test_worker_and_beat_are_killed(site: Site) -> None:
    old = "NightshiftQueueStalled" if isinstance(site.broker, RabbitMQ) else "NightshiftQueueOld"
    site.processes["worker"].kill_tree()
    site.processes["beat"].kill_tree()
    site.enqueue("succeed")
    site.fires("NightshiftNoWorker", "NightshiftBeatLate", old)
    assert have_data(site) == {not isinstance(site.broker, RabbitMQ)}, (
        "see may_be_empty in monitoring/panels.py"
    )
    site.begin("worker")
    site.begin("beat")
    site.clears("NightshiftNoWorker", "NightshiftBeatLate", old)


def test_the_broker_is_stopped(site: Site) -> None:
    site.broker.stop()
    site.post("/commit")
    site.fires("NightshiftBrokerAway", "NightshiftOutboxNotDraining")
    site.broker.start()
    site.clears("NightshiftBrokerAway", "NightshiftOutboxNotDraining")


@pytest.mark.thorough
def test_the_database_is_stopped(site: Site, postgres: Postgres) -> None:
    postgres.stop()
    site.enqueue("succeed", 100)
    site.fires("NightshiftDatabaseAway")
    assert "NightshiftNoWorker" not in site.prometheus.firing()
    postgres.start()
    site.clears("NightshiftDatabaseAway")
    site.fires("NightshiftHistoryLost")
    site.clears("NightshiftHistoryLost")


@pytest.mark.thorough
def test_the_web_app_hangs(site: Site) -> None:
    site.signal_web(signal.SIGSTOP)
    site.fires("NightshiftMetricsMissing")
    site.signal_web(signal.SIGCONT)
    site.clears("NightshiftMetricsMissing")
