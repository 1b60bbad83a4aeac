"""A broker, a database and dead letters, for the tests of dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_nightshift import journal
from flask_nightshift.brokers import connect
from flask_nightshift.brokers.base import Broker
from flask_nightshift.config import settings as config
from flask_nightshift.dead_letters import Archiver
from flask_nightshift.domain.job import Attempt, Failure, JobState, Reason, utcnow
from flask_nightshift.message import burial
from flask_nightshift.message import headers as message_headers
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.store import Store
from servers import Server, wait_for

TRACEBACK = 'Traceback\n  File "shop/tasks.py", line 7, in send\n    raise OSError\n'


@dataclass
class DeadLetterSystem:
    """A broker, a database, and methods that create dead letters."""

    broker: Broker
    store: Store
    server: Server
    app: Flask
    buried: list[str] = field(default_factory=list)

    def job(self, job_id: str, task: str = "mail.send") -> dict[str, Any]:
        headers: dict[str, Any] = {"id": job_id, "task": task, "retries": 2, "eta": None, "expires": None}
        message_headers.stamp(headers, queue="mail", at=utcnow(), request_id="req-1")
        return headers

    def bury(
        self,
        job_id: str,
        *,
        task: str = "mail.send",
        reason: Reason = Reason.EXHAUSTED,
        failure: Failure | None = None,
        body: bytes = b'[[7], {"to": "ann"}, {}]',
        queue: str = "mail",
    ) -> str:
        """Put a dead letter into the broker's dead-letter queue; returns its id."""
        headers = burial.buried(
            self.job(job_id, task),
            reason=reason,
            failure=failure or Failure("OSError", f"refused {job_id}", TRACEBACK),
            queue=queue,
            worker="w1",
            at=utcnow(),
            ended=Attempt(3, utcnow().isoformat(), "w1", 0.5, "OSError", "refused"),
        )
        self.broker.publish(Envelope(body, headers, {"correlation_id": job_id}), DEAD_QUEUE)
        return str(headers[message_headers.DEAD]["id"])

    def archive(self) -> int:
        return Archiver(self.broker, self.store).run_once()

    def died(self, *job_ids: str, **more: Any) -> list[str]:
        """Bury and archive jobs; returns the ids of their letters."""
        ids = [self.bury(job_id, **more) for job_id in job_ids]
        archived = 0

        def all_of_them() -> bool:
            nonlocal archived  # RabbitMQ may report a queue as empty that has a letter
            archived += self.archive()
            return archived == len(ids)

        wait_for(all_of_them, 5, "not all were archived")
        return ids

    def in_queue(self, queue: str = DEAD_QUEUE) -> int:
        return self.broker.depths([queue])[0].ready

    def state(self, job_id: str) -> JobState | None:
        found = journal.find_job(self.store, job_id)
        return found.state if found else None


DATABASES = {"valkey": "sqlite", "rabbitmq": "postgres"}
"""Both brokers and both databases, without all four pairs."""
BROKERS = ["valkey", pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])]


@pytest.fixture(params=BROKERS, name="system")
def dead_letter_system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeadLetterSystem]:
    server = request.getfixturevalue(request.param)
    url = f"sqlite:///{tmp_path}/history/db.sqlite3"
    if DATABASES[request.param] == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(NIGHTSHIFT_BROKER_URL=server.fresh_url(), NIGHTSHIFT_DATABASE_URL=url)
    settings = config.load(app)
    made = DeadLetterSystem(connect(settings, app), Store(settings.database_url), server, app)
    made.store.migrate()
    yield made
    made.broker.close()
    made.store.close()


def take_away(system: DeadLetterSystem) -> Callable[[], object]:
    """Make the database unreachable; returns a function that makes it reachable again."""
    if system.store.engine.dialect.name == "sqlite":
        path = Path(str(system.store._url.database)).parent
        away = path.with_name("elsewhere")
        path.rename(away)
        return lambda: away.rename(path)
    [postgres] = [server for server in Server.running if server.program == "postgres"]
    postgres.stop()
    return postgres.start
