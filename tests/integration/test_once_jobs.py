"""Jobs that do something once: workers that are killed in the block, and jobs that wait for each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flask_nightshift.store import Store
from system import System, running

SHORT = json.dumps({"broker_transport_options": {"lease_seconds": 6.0, "lease_renew_seconds": 1.0}})


PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]


@pytest.fixture(params=PLACES, ids="-".join)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """A web app and two workers, on each kind of broker and of database."""
    broker, database = (request.getfixturevalue(request.param[0]), request.param[1])
    database_url = f"sqlite:///{tmp_path}/history.sqlite3"
    if database == "postgres":
        database_url = request.getfixturevalue("postgres").fresh_url()
    settings = {
        "FLASK_APP": "onceapp",
        "NIGHTSHIFT_CELERY": SHORT,
        "NIGHTSHIFT_DATABASE_URL": database_url,
    }
    with ExitStack() as stack:
        made = stack.enter_context(running(tmp_path, broker.fresh_url(), **settings))
        with Store(database_url).begin() as connection:
            connection.execute(text("CREATE TABLE payments (key VARCHAR(50))"))
        made.web()
        yield made


def go(system: System) -> None:
    Path(f"{system.ledger}.go").touch()


def paid(system: System) -> list[Any]:
    store = Store(system.env["NIGHTSHIFT_DATABASE_URL"])
    with store.read() as connection:
        found = connection.execute(text("SELECT key FROM payments")).scalars().all()
    store.close()
    return list(found)


def test_one_effect_although_a_worker_is_killed_in_the_block(system: System) -> None:
    first = system.worker("--concurrency", "1", name="first")
    killed = system.enqueue("test.pay", "killed", "order-1")
    system.until(lambda: system.events("killed") == ["in the block"], 20, "it does not begin")
    second = system.worker("--concurrency", "1", name="second")
    other = system.enqueue("test.pay", "other", "order-1")
    system.until(lambda: second.lines("job.returned", job_id=other), 20, "it does not wait")
    (line,) = second.lines("job.returned", job_id=other)[:1]
    assert "'order-1' is in progress" in line["why"]

    first.kill_tree()
    go(system)

    for job_id in (killed, other):
        system.until_state(job_id, "succeeded", 60)
    assert paid(system) == ["order-1"]
    ends = [system.events(marker)[-1] for marker in ("killed", "other")]
    assert sorted(ends) == ["paid", "paid before"]
    assert system.job(other)["attempts"] == 1  # the wait was no attempt


def test_a_job_whose_worker_was_killed_goes_on_and_another_one_waits(system: System) -> None:
    """Without a session the marker outlives the worker, and belongs to the job."""
    first = system.worker("--concurrency", "1", name="first")
    killed = system.enqueue("test.mail_once", "killed", "mail-1")
    system.until(lambda: system.events("killed") == ["in the block"], 20, "it does not begin")
    second = system.worker("--concurrency", "1", name="second")
    other = system.enqueue("test.mail_once", "other", "mail-1")
    system.until(lambda: second.lines("job.returned", job_id=other), 20, "it does not wait")
    assert f"the job {killed} since" in second.lines("job.returned", job_id=other)[0]["why"]

    first.kill_tree()
    go(system)

    for job_id in (killed, other):
        system.until_state(job_id, "succeeded", 60)
    assert system.events("killed") == ["in the block", "in the block", "mailed"]
    assert system.events("other")[-2:] == ["in the block", "mailed before"]
    assert "mailed" not in system.events("other")


class TestIdempotentTasks:
    def test_a_repeat_is_skipped_and_the_history_says_by_whom(self, system: System) -> None:
        worker = system.worker("--concurrency", "2")
        first = system.enqueue("test.hook", "first", "invoice-1")
        system.until(lambda: system.events("first"), 20, "it does not begin")
        meanwhile = system.enqueue("test.hook", "meanwhile", "invoice-1")
        system.until(lambda: worker.lines("job.returned", job_id=meanwhile), 20, "it does not wait")
        go(system)
        system.until_state(first, "succeeded", 30)
        found = system.until_state(meanwhile, "skipped", 30)

        assert system.events("first") == ["in the body", "done"]
        assert system.events("meanwhile") == []
        assert found["attempts"] == 1
        assert f"its key was done before by {first}" in str(found)
        (line,) = worker.lines("job.skipped", job_id=meanwhile)
        assert line["by"] == first
        shown = system.json("show", meanwhile)
        assert shown["state"] == "skipped"
        other = system.enqueue("test.hook", "other", "invoice-2")
        system.until_state(other, "succeeded", 30)
        plain = [system.enqueue("test.hook_plain", f"plain-{number}", "k") for number in range(2)]

        def states() -> list[str]:
            return sorted(system.job(each)["state"] for each in plain)

        system.until(lambda: states() == ["skipped", "succeeded"], 30, "not one of them was done")
        assert system.events("plain-0") + system.events("plain-1") == ["done"]

    def test_a_failed_attempt_releases_the_key_and_the_retry_runs(self, system: System) -> None:
        go(system)
        system.worker("--concurrency", "1")
        flaky = system.enqueue("test.hook", "flaky", "flaky-1")
        asks = system.enqueue("test.asks_again", "asks")
        for job_id in (flaky, asks):
            assert system.until_state(job_id, "succeeded", 30)["attempts"] == 2
        assert system.events("flaky") == ["in the body", "in the body", "done"]
        assert system.events("asks") == ["in the body", "in the body"]

    def test_a_key_that_is_no_text_buries_the_job_with_the_reason(self, system: System) -> None:
        system.worker("--concurrency", "1")
        found = system.until_state(system.enqueue("test.no_key", "no-key"), "dead", 30)
        assert "idempotency_key of the task 'test.no_key' returned None" in str(found)
        assert system.events("no-key") == []
