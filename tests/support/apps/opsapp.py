"""An app in the test process on a real broker and a real database, for tests of operators' views."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import Result
from flask import Flask
from redis import Redis

from flask_nightshift import Nightshift, services
from flask_nightshift.cli import jobs as cli
from flask_nightshift.dead_letters import Archiver
from flask_nightshift.domain.events import JobDied, JobEvent, JobRetrying, JobStarted, JobSucceeded
from flask_nightshift.domain.job import Failure, JobRef, Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message import burial
from flask_nightshift.message import headers as message_headers
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.services import Services
from flask_nightshift.store import heartbeats

if TYPE_CHECKING:
    import pytest

TRACEBACK = 'Traceback (most recent call last):\n  File "shop.py", line 3, in send\nOSError: refused'


class Ops:
    """The app, its services, and methods that write history without running a job."""

    def __init__(self, folder: Path, broker_url: str, **config: Any) -> None:
        self.jobs = Nightshift()
        self.app = Flask("opsapp", instance_path=str(folder / "instance"))
        (folder / "instance").mkdir(exist_ok=True)
        self.app.config.update(NIGHTSHIFT_BROKER_URL=broker_url, NIGHTSHIFT_HTTP_ACCESS="local")
        self.app.config.update(config)
        self.jobs.init_app(self.app)

        @self.jobs.task(name="mail.send", queue="mail")
        def send(number: int = 0) -> None:
            """Never runs here."""

        self.send = send

    @property
    def services(self) -> Services:
        return services.current(self.app)

    def get(self, path: str, *, remote: str = "127.0.0.1", host: str = "localhost", **headers: str) -> Any:
        """GET as a client with the address ``remote``; ``x_real_ip="…"`` sets a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client = self.app.test_client()
        return client.get(path, headers={"Host": host, **named}, environ_overrides={"REMOTE_ADDR": remote})

    def run(self, *words: str, stdin: str | None = None) -> Result:
        """Run ``flask jobs <words>``."""
        return self.app.test_cli_runner().invoke(cli, list(words), input=stdin, env={"COLUMNS": "80"})

    def ok(self, *words: str) -> str:
        """``run``, which must succeed; returns its output."""
        done = self.run(*words)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def waiting(self, queue: str = "mail") -> list[dict[str, Any]]:
        """The headers of the jobs that are ready in ``queue`` of the Redis server, next first."""
        with Redis.from_url(self.services.settings.broker_url) as client:
            found: list[Any] = client.lrange(queue, 0, -1)
        return [json.loads(raw)["headers"] for raw in reversed(found)]

    # history
    def worker_seen(
        self, name: str = "worker@one", *, seen: float = 0, loop: float = 0, **fields: Any
    ) -> None:
        """Write a heartbeat of ``name`` that is ``seen`` seconds old; its loop ran ``loop`` seconds ago."""
        now = utcnow()
        wanted = {
            "hostname": name.partition("@")[2],
            "pid": os.getpid(),
            "queues": self.services.queues(),
            "heard": 0,
            **fields,
        }
        heartbeats.write(
            self.services.store,
            heartbeats.WorkerHeartbeat(
                name=name,
                started_at=now - timedelta(hours=1),
                seen_at=now - timedelta(seconds=seen),
                loop_at=now - timedelta(seconds=loop),
                **wanted,
            ),
        )

    def beat_seen(self, age: float = 0) -> None:
        heartbeats.tick(self.services.store, "beat@one", utcnow() - timedelta(seconds=age))

    def all_well(self) -> None:
        self.worker_seen()
        self.beat_seen()

    def ref(self, attempt: int = 1) -> JobRef:
        return JobRef(str(uuid.uuid4()), "mail.send", "mail", attempt, "req-1", utcnow())

    def ran(self, *, outcome: str = "succeeded", runtime: float = 0.2, wait: float = 0.03) -> JobRef:
        """Record a job that ran once, as a worker would; ``flush()`` writes it."""
        job, now, worker = self.ref(), utcnow(), "worker@one"
        failure = Failure("OSError", "refused", TRACEBACK)
        ends: dict[str, JobEvent] = {
            "succeeded": JobSucceeded(job, now, worker, runtime),
            "retried": JobRetrying(job, now, worker, runtime, failure, now + timedelta(seconds=4), 4.0, 5),
            "dead": JobDied(job, now, worker, runtime, failure, Reason.EXHAUSTED),
        }
        self.services.events.emit(JobStarted(job, now, worker, wait))
        self.services.events.emit(ends[outcome])
        return job

    def flush(self) -> None:
        self.services.journal.flush(10)

    def enqueue(self, queue: str = "mail", count: int = 1) -> list[str]:
        """Enqueue jobs into a queue without a worker; returns their ids."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        for job_id in ids:
            self.services.broker.publish(self.message(job_id, queue), queue)
        return ids

    def message(self, job_id: str, queue: str = "mail", task: str = "mail.send", number: int = 7) -> Envelope:
        headers: dict[str, Any] = {"id": job_id, "task": task, "retries": 0, "lang": "py", "root_id": job_id}
        message_headers.stamp(headers, queue=queue, at=utcnow(), request_id="req-1")
        return Envelope(json.dumps([[number], {}, {}]).encode(), headers, {"correlation_id": job_id})

    def bury(
        self, *, task: str = "mail.send", reason: Reason = Reason.EXHAUSTED, error: str = "OSError",
        text: str = "refused", archive: bool = True, enqueued: timedelta = timedelta(),
    ) -> str:  # fmt: skip
        """Bury and archive a job that was enqueued some time ago; returns its id."""
        job_id = str(uuid.uuid4())
        original = self.message(job_id, task=task)
        original.headers["nightshift"]["enqueued_at"] = (utcnow() - enqueued).isoformat()
        headers = burial.buried(
            original.headers,
            reason=reason,
            failure=Failure(error, text, TRACEBACK),
            queue="mail",
            worker="worker@one",
            at=utcnow(),
        )
        self.services.broker.publish(Envelope(original.body, headers, original.properties), DEAD_QUEUE)
        if archive:
            Archiver(self.services.broker, self.services.store).run_once()
        return job_id

    def letter(self, job_id: str) -> dict[str, Any]:
        """The dead letter of a job."""
        return next(x for x in self.json("dead", "list", "--status", "any") if x["job_id"] == job_id)

    def close(self) -> None:
        self.services.journal.close()
        self.services.broker.close()
        self.services.store.close()


def publishes(ops: Ops) -> bool:
    """Whether the broker takes a job; a new RabbitMQ on a busy machine may need some seconds for its entities."""
    try:
        return bool(ops.enqueue())
    except BrokerUnavailable:
        return False


@contextmanager
def opened_on(request: pytest.FixtureRequest, folder: Path, **config: Any) -> Iterator[Ops]:
    """As ``opened``, on the broker of the fixture's parameter: ``valkey`` with SQLite, ``rabbitmq`` with PostgreSQL."""
    if request.param == "rabbitmq":
        config["NIGHTSHIFT_DATABASE_URL"] = request.getfixturevalue("postgres").fresh_url()
    with opened(folder, request.getfixturevalue(request.param).fresh_url(), **config) as made:
        yield made


@contextmanager
def opened(folder: Path, broker_url: str, *, migrate: bool = True, **config: Any) -> Iterator[Ops]:
    """An ``Ops`` with a migrated database."""
    ops = Ops(folder, broker_url, **config)
    if migrate:
        ops.services.store.migrate()
    try:
        yield ops
    finally:
        ops.close()
