"""A system on which tests cancel jobs: real workers, and an app in the test's process that enqueues and cancels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cancelapp import create_app, jobs
from flask_nightshift.cli import jobs as jobs_command
from flask_nightshift.domain.job import utcnow
from flask_nightshift.operations import cancelling
from flask_nightshift.operations.cancelling import Cancellation
from flask_nightshift.store import heartbeats
from system import Process, System, running

PAIRS = [
    pytest.param(("valkey", None), id="valkey-sqlite"),
    pytest.param(
        ("rabbitmq", "postgres"), id="rabbitmq-postgres", marks=[pytest.mark.rabbitmq, pytest.mark.postgres]
    ),
]


class Place:
    """A system, and an app in this process that enqueues and cancels its jobs."""

    def __init__(self, system: System, app: Any) -> None:
        self.system, self.app = system, app
        self.services = app.extensions["nightshift"]
        self.removes = self.services.broker.waiting_jobs() is not None
        """Whether the broker can remove a job that waits."""

    def cancel(self, job_id: str, **options: Any) -> Cancellation:
        return cancelling.cancel(self.services, job_id, by="a test", **options)

    def command(self, *words: str) -> Any:
        """What ``flask jobs cancel`` says."""
        return self.app.test_cli_runner().invoke(jobs_command, ["cancel", *words])

    def state(self, job_id: str) -> str:
        return str(jobs.job(job_id).state)

    def until_state(self, job_id: str, state: str, seconds: float = 30) -> None:
        self.system.until(
            lambda: self.state(job_id) == state, seconds, f"{job_id} is not {state} but {self.state(job_id)}"
        )

    def begins(self, marker: str, times: int = 1) -> None:
        self.system.until(
            lambda: self.system.events(marker).count("begun") == times, 30, f"{marker} does not begin"
        )

    def known(self, *results: Any) -> None:
        """Wait until the history has what was enqueued."""
        self.services.journal.flush()
        for result in results:
            assert self.state(result.id) == "queued"

    def worker(self) -> Process:
        """The worker that the tests of a module share; it starts when it is first needed."""
        alive = [each for each in self.system.processes if each.name == "worker"]
        return alive[0] if alive else self.system.worker("--concurrency", "2", "--queues", "celery,others")

    def known_to_run(self, result: Any) -> None:
        """Wait until the history says that a job runs."""
        self.services.journal.flush()
        self.until_state(result.id, "running", 10)

    def until_taken(self, queue: str) -> None:
        """Wait until workers have taken all jobs of ``queue``."""
        broker = self.services.broker
        self.system.until(lambda: broker.depths([queue])[0].ready == 0, 15, f"{broker.depths([queue])} stays")

    def until_reported(self, job_id: str) -> None:
        """Wait until a worker's row says that it runs the job."""
        self.system.until(
            lambda: any(
                job["job_id"] == job_id
                for row in heartbeats.workers(self.services.store, utcnow())
                for job in row.busy
            ),
            10,
            f"no worker reports {job_id}",
        )


@contextmanager
def open_place(request: pytest.FixtureRequest, pair: tuple[str, str | None], folder: Path) -> Iterator[Place]:
    """A place on the broker and the database of ``pair``, whose names are those of fixtures."""
    broker, database = pair
    url = request.getfixturevalue(broker).fresh_url()
    history = (
        f"sqlite:///{folder}/history.sqlite3"
        if database is None
        else request.getfixturevalue(database).fresh_url()
    )
    settings = {"FLASK_APP": "cancelapp", "NIGHTSHIFT_DATABASE_URL": history}
    with running(folder, url, **settings) as system, ExitStack() as stack:
        names = ("INSTANCE", "NIGHTSHIFT_BROKER_URL", "NIGHTSHIFT_DATABASE_URL")
        app = create_app(**{name: system.env[name] for name in names})
        stack.enter_context(app.app_context())
        stack.enter_context(pytest.MonkeyPatch.context()).setenv(
            "LEDGER", system.env["LEDGER"]
        )  # for errbacks
        stack.callback(jobs.close, app)
        yield Place(system, app)


class Places:
    """The place of a module's tests; a test that is run again gets a new one, without what its first run left."""

    def __init__(self, request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> None:
        self._request, self._factory = request, factory
        self._stack = ExitStack()
        self._place: Place | None = None

    def of(self, test: Any) -> Place:
        """The place for ``test``, which is a pytest item."""
        if self._place is None or getattr(test, "execution_count", 1) > 1:
            self.close()
            folder = self._factory.mktemp("cancel")
            self._place = self._stack.enter_context(open_place(self._request, self._request.param, folder))
        return self._place

    def close(self) -> None:
        """End its processes."""
        self._stack.close()


__all__ = ["PAIRS", "Place", "Places", "open_place"]
