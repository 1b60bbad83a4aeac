"""A worker of a new version whose database an older one has migrated: it says so, and its jobs run (invariant 7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command

from flask_nightshift.store import Store, migration
from servers import Valkey
from system import System, running


def move_back(url: str) -> None:
    """Migrate down to the last revision without an outbox."""
    store = Store(url)
    config = migration._config()
    with store.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
    store.close()


@pytest.fixture
def system(valkey: Valkey, database_url: str, tmp_path: Path) -> Iterator[System]:
    settings = {"FLASK_APP": "onceapp", "NIGHTSHIFT_DATABASE_URL": database_url}
    with running(tmp_path, valkey.fresh_url(), **settings) as made:
        move_back(database_url)
        made.web()
        yield made


def test_jobs_run_and_the_log_names_the_remedy(system: System) -> None:
    worker = system.worker("--concurrency", "2")
    fine = system.enqueue("test.succeed", "fine")
    flaky = system.enqueue("test.flaky", "flaky", 1)
    dead = system.enqueue("test.permanent", "dead")
    system.until(
        lambda: "done" in system.events("fine") and "done" in system.events("flaky"), 30, "no job runs"
    )
    system.until(lambda: worker.lines("job.dead", job_id=dead), 15, "it does not die")
    asks = system.enqueue("test.hook_plain", "once", "key")
    system.until(lambda: worker.lines("job.returned", job_id=asks), 15, "it does not wait")

    def remedies() -> list[str]:
        return [line for line in worker.log.splitlines() if "flask jobs migrate" in line]

    assert remedies()
    system.cli("migrate")
    system.until(lambda: worker.lines("outbox.relay_resumed"), 60, "the worker has not noticed")
    for job_id, state in ((fine, "succeeded"), (flaky, "succeeded"), (dead, "dead"), (asks, "succeeded")):
        system.until_state(job_id, state, 60)  # the history has waited
    assert system.events("once") == ["done"]
    paused = [line for line in remedies() if "paused" in line]
    assert len(paused) <= 5  # once for each thread that needs the tables
