"""An app, dead letters and jobs by the hundred, and a worker's runner that a test drives by hand."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from flask_nightshift.dead_letters import archive
from flask_nightshift.domain.job import DeadLetter, Failure, Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message import burial, headers
from flask_nightshift.operations.bulk_runner import Runner
from flask_nightshift.outbox import writing
from flask_nightshift.outbox.rows import row_of
from flask_nightshift.services import Services
from flask_nightshift.store import Store
from flask_nightshift.store.tables import dead_letters as table
from servers import wait_for

TRACEBACK = 'Traceback (most recent call last):\n  File "shop.py", line 3, in send\nOSError: refused'


def letters(
    store: Store,
    count: int,
    *,
    task: str = "mail.send",
    args: list[Any] | None = None,
    queue: str = "mail",
    unique: bool = False,
    at: datetime | None = None,
) -> list[str]:
    """Store ``count`` dead letters, a millisecond apart; returns the ids of their jobs.

    ``%`` in ``args`` stands for the number of the letter.
    """
    made: list[DeadLetter] = []
    first = (at or utcnow()) - timedelta(milliseconds=count)
    for number in range(count):
        job_id, when = str(uuid.uuid4()), first + timedelta(milliseconds=number)
        given = [str(value).replace("%", str(number)) for value in args or ["%"]]
        of_job: dict[str, Any] = {"id": job_id, "task": task, "retries": 2, "lang": "py", "root_id": job_id}
        headers.stamp(of_job, queue=queue, at=when, request_id="req-1")
        if unique:
            of_job[headers.HISTORY]["unique"] = {"key": f"{task}:{number}", "until": "done", "for": 3600.0}
        failure = Failure("OSError", "refused", TRACEBACK)
        dead = burial.buried(
            of_job, reason=Reason.EXHAUSTED, failure=failure, queue=queue, worker="w1", at=when
        )
        body = json.dumps([given, {}, {}]).encode()
        properties = {"correlation_id": job_id, "reply_to": ""}
        made.append(burial.dead_letter(body, dead, properties, "application/json", "utf-8"))
    for start in range(0, count, 200):
        archive(store, made[start : start + 200], worker="w1")
    return [str(each.job_id) for each in made]


def wait_in_outbox(ops: Any, count: int) -> list[str]:
    """Have jobs wait in the outbox of ``ops``; returns their ids."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    with ops.services.store.begin() as connection:
        made = [row_of(ops.message(job_id), task="mail.send", queue="mail", due=None) for job_id in ids]
        writing.write(connection, made)
    return ids


def warm(ops: Any) -> None:
    """Wait until the broker takes messages; the first ones declare queues, for which a busy RabbitMQ needs its time."""

    def takes_messages() -> bool:
        try:
            broker = ops.services.broker
            broker.publish(ops.message("warm-up", "warm"), "warm", due=utcnow() + timedelta(days=1))
            broker.publish(ops.message("warm-up"), "mail")
        except BrokerUnavailable:
            return False
        return True

    wait_for(takes_messages, 60, "the broker takes no message")
    ops.services.broker.purge("mail")


def statuses(store: Store) -> dict[str, int]:
    """The number of dead letters in each status."""
    with store.read() as connection:
        query = select(table.c.status, func.count()).group_by(table.c.status)
        return {row[0]: row[1] for row in connection.execute(query)}


def runner(services: Services, name: str = "hand@test") -> Runner:
    """The runner of a worker, without its thread."""
    return Runner(services, name)


def drive(work: Runner, turns: int = 200) -> int:
    """Take turns until none is due; returns how many did something."""
    done = 0
    while work.turn() == 0.0:
        done += 1
        assert done < turns, "it does not end"
    return done
