"""``flask jobs workers`` beside real workers, and the rows of those that are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.domain.job import utcnow
from flask_nightshift.store import Store, heartbeats
from flask_nightshift.store.heartbeats import WorkerHeartbeat
from servers import Valkey
from system import System, running


@pytest.fixture
def system(tmp_path: Path, valkey: Valkey) -> Iterator[System]:
    with running(tmp_path, valkey.fresh_url()) as made:
        yield made


def test_it_shows_what_each_worker_does(system: System) -> None:
    assert "No worker has reported" in system.cli("workers").stdout
    system.web()
    system.worker("--concurrency", "2", name="old", NIGHTSHIFT_VERSION="2026-11-01")
    system.worker("--concurrency", "2", name="new", NIGHTSHIFT_VERSION="2026-11-27")
    job_id = system.enqueue("test.nap", "m", 45)

    def working(rows: list[dict[str, Any]]) -> bool:
        return any(row["running"] for row in rows) and all(row["memory_bytes"] for row in rows)

    rows = system.until(
        lambda: working(found := system.json("workers")) and found, 30, "a worker runs the job"
    )
    assert {row["app_version"] for row in rows} == {"2026-11-01", "2026-11-27"}
    assert all(20e6 < row["memory_bytes"] < 1e9 for row in rows)
    (busy,) = (row for row in rows if row["running"])
    assert busy["running"][0]["job_id"] == job_id
    page = system.cli("workers").stdout
    assert "1/2" in page
    assert "0/2" in page
    assert job_id in page
    assert page.count("healthy") == 2
    assert all(len(line) <= 80 for line in page.splitlines())


def test_the_rows_of_workers_that_are_gone_do_not_pile_up(store: Store) -> None:
    now = utcnow()
    row = WorkerHeartbeat("here", "host", 7, now, now, now)
    heartbeats.write(store, row)
    for number in range(5):
        long_ago = now - heartbeats.GONE - timedelta(minutes=1)
        heartbeats.write(store, replace(row, name=f"gone-{number}", seen_at=long_ago))
    heartbeats.write(store, replace(row, name="silent", seen_at=now - timedelta(minutes=50)))
    assert heartbeats.forget_gone(store) == 5
    assert [each.name for each in heartbeats.workers(store, now)] == ["here", "silent"]
