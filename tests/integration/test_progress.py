"""Progress: any code of a job reports it as often as it likes, in every pool, and the last report is stored."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whyapp
from flask_nightshift import ConfigurationError, JobRecord
from servers import Valkey, wait_for
from system import System
from why_site import PAIRS, why_system

POOLS = {"prefork": 3, "threads": 2, "solo": 1, "gevent": 2}
"""How many jobs a worker of each pool runs at once here. With RabbitMQ it is prefork alone: no broker is involved."""
LOOP = 200_000


class Site:
    """A system, and its app current here."""

    def __init__(self, system: System, *, all_pools: bool) -> None:
        self.system, self.all_pools = system, all_pools

    def record(self, job_id: str) -> JobRecord:
        return whyapp.jobs.job(job_id)

    def open(self, gate: str) -> None:
        Path(self.system.env["INSTANCE"], f"gate.{gate}").touch()


@pytest.fixture(params=PAIRS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with why_system(request, tmp_path) as (system, broker):
        yield Site(system, all_pools=broker == "valkey")


def report(done: int, note: str) -> dict[str, Any]:
    return {"done": done, "total": LOOP, "message": note}


def reported(site: Site, ids: list[str], wanted: dict[str, Any]) -> None:
    """Wait until all of them have reported this."""
    wait_for(lambda: all(site.record(each).progress == wanted for each in ids), 40, f"{wanted} is stored")


def test_a_loop_reports_in_every_pool(site: Site) -> None:
    for pool, size in POOLS.items() if site.all_pools else [("prefork", 3)]:
        worker = site.system.worker("--pool", pool, "--concurrency", str(size), name=pool)
        tasks = [whyapp.count, whyapp.count_async][:size]
        ids = [task.delay(pool, LOOP).id for task in tasks]
        reported(site, ids, report(LOOP - 1, "counting"))
        if pool == "prefork":
            shown = site.system.cli("show", ids[0]).stdout
            assert f"{LOOP - 1} of {LOOP} (100 %): counting" in shown
            check_failures(site)
        site.open(pool)
        reported(site, ids, report(LOOP, "done"))
        assert worker.stop() == 0
        assert all(site.record(each).state == "succeeded" for each in ids)


def check_failures(site: Site) -> None:
    retried, refused = whyapp.again.delay().id, whyapp.wrong.delay().id
    wait_for(lambda: site.record(retried).state == "retrying", 20, "it is retried")
    assert site.record(retried).progress is None
    wait_for(lambda: site.record(refused).state == "dead", 20, "it dies")
    error = site.record(refused).error or {}
    assert error["message"] == "done of progress() = -1 is not usable: give a finite number, 0 or more"


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "3", True, None])
def test_wrong_values_are_refused_by_name(value: Any, quiet: Any) -> None:
    current = whyapp.jobs.current
    with pytest.raises(ConfigurationError, match=r"done of progress\(\)"):
        current.progress(value, 3)
    if value is not None:
        with pytest.raises(ConfigurationError, match=r"total of progress\(\)"):
            current.progress(1, value)
    with pytest.raises(ConfigurationError, match=r"note of progress\(\)"):
        current.progress(1, 3, 7)  # type: ignore[arg-type]


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> Iterator[Any]:
    """An app without workers."""
    monkeypatch.setenv("INSTANCE", str(tmp_path))
    app = whyapp.create_app(NIGHTSHIFT_BROKER_URL=valkey.fresh_url())
    with app.app_context():
        yield app
    whyapp.jobs.close(app)


def test_outside_of_a_job_it_says_once_that_nothing_is_stored(
    quiet: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whyapp.jobs.current, "_said", False)
    with caplog.at_level(logging.INFO, "flask_nightshift.task"):
        for done in range(1000):
            whyapp.jobs.current.progress(done, 1000)
        whyapp.again.apply(throw=False)
    assert [record.message for record in caplog.records if "progress" in record.message] == [
        "job.progress_ignored"
    ]
