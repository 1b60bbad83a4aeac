"""The data of a busy system: jobs of thirty tasks in every state, dead letters in groups, workers, schedules, totals.

``fill(store)`` writes it, and so does ``python tests/support/busy_history.py URL [JOBS]``.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert

from flask_nightshift.dead_letters import archive
from flask_nightshift.domain.job import Attempt, DeadLetter, Failure, Outcome, Reason, utcnow
from flask_nightshift.enqueue.ids import new_id
from flask_nightshift.journal import JobRow, add_totals, write_jobs
from flask_nightshift.message import burial
from flask_nightshift.message import headers as message_headers
from flask_nightshift.store import Store, heartbeats, tables
from flask_nightshift.store.heartbeats import WorkerHeartbeat
from flask_nightshift.store.kinds import kind_of
from flask_nightshift.store.tables import BUCKETS, bucket_columns

TASKS: dict[str, tuple[str, float]] = {
    "mail.send_welcome": ("mail", 0.4), "mail.send_receipt": ("mail", 0.3), "mail.digest": ("mail", 2.2),
    "mail.reminder": ("mail", 0.35), "image.thumbnail": ("images", 1.1), "image.watermark": ("images", 2.4),
    "image.classify": ("images", 6.5), "search.index": ("search", 0.08), "search.reindex_product": ("search", 0.4),
    "search.drop": ("search", 0.05), "billing.charge": ("billing", 1.3), "billing.invoice": ("billing", 2.8),
    "billing.dunning": ("billing", 0.9), "billing.sync_stripe": ("billing", 4.0), "report.daily": ("reports", 45.0),
    "report.weekly": ("reports", 210.0), "report.export_csv": ("reports", 12.0), "cart.expire": ("celery", 0.02),
    "cart.remind": ("celery", 0.3), "cart.price": ("celery", 0.1), "hook.deliver": ("hooks", 0.7),
    "hook.retry_all": ("hooks", 3.0), "stock.sync": ("celery", 5.5), "stock.reserve": ("celery", 0.06),
    "user.import": ("celery", 25.0), "user.erase": ("celery", 3.0), "user.sessions": ("celery", 0.2),
    "geo.locate": ("celery", 0.5), "audit.archive": ("celery", 8.0), "fx.rates": ("celery", 1.0),
}  # fmt: skip
"""Queue and usual runtime in seconds, by task."""
CRASHES: tuple[tuple[str, str, str, Reason], ...] = (
    (
        "hook.deliver", "requests.exceptions.ConnectionError",
        "Max retries exceeded with url: https://partner-{n}.example/hooks", Reason.EXHAUSTED,
    ),
    (
        "billing.charge", "stripe.CardError",
        "Your card was declined (order {n})", Reason.PERMANENT,
    ),
    (
        "image.thumbnail", "PIL.UnidentifiedImageError",
        "cannot identify image file '/uploads/{n}.heic'", Reason.PERMANENT,
    ),
    (
        "mail.send_welcome", "smtplib.SMTPRecipientsRefused",
        "{{'user{n}@example.org': (550, b'no such user')}}", Reason.EXHAUSTED,
    ),
    (
        "stock.sync", "TimeoutError",
        "the warehouse did not answer within 30 s", Reason.EXHAUSTED,
    ),
    (
        "search.index", "opensearchpy.exceptions.RequestError",
        "RequestError(400, 'mapper_parsing_exception', 'price')", Reason.PERMANENT,
    ),
    (
        "report.export_csv", "KeyError",
        "'vat_id'", Reason.EXHAUSTED,
    ),
    (
        "user.import", "UnicodeDecodeError",
        "'utf-8' codec can't decode byte 0xfc in position {n}", Reason.PERMANENT,
    ),
    (
        "billing.sync_stripe", "sqlalchemy.exc.OperationalError",
        "(psycopg.OperationalError) server closed the connection unexpectedly", Reason.EXHAUSTED,
    ),
    (
        "image.classify", "WorkerLostError",
        "the worker died 5 times in this job", Reason.DELIVERY_LIMIT,
    ),
    (
        "old.task", "NotRegistered",
        "no worker knows the task old.task", Reason.UNKNOWN_TASK,
    ),
    (
        "fx.rates", "decimal.InvalidOperation",
        "[<class 'decimal.ConversionSyntax'>]", Reason.EXHAUSTED,
    ),
)  # fmt: skip
TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/.venv/lib/python3.12/site-packages/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
  File "/srv/shop/.venv/lib/python3.12/site-packages/flask_nightshift/task/protection.py", line 120, in __call__
    return self._body(*args, **kwargs)
  File "/srv/shop/tasks/{module}.py", line 48, in {name}
    result = client.request(order, timeout=30)
  File "/srv/shop/clients.py", line 112, in request
    response.raise_for_status()
  File "/srv/shop/.venv/lib/python3.12/site-packages/requests/models.py", line 1021, in raise_for_status
    raise HTTPError(http_error_msg, response=self)
{error}: {message}
"""
WORKERS = tuple(f"worker{number}@app-{number // 2 + 1}" for number in range(8))
BATCH = 5000


def fill(
    store: Store,
    jobs: int = 100_000,
    letters: int = 400,
    workers: int = 8,
    schedules: int = 15,
    days: int = 30,
    now: datetime | None = None,
) -> None:
    """Create the tables and write the data; jobs of the last seven days, totals of ``days``."""
    store.migrate()
    now = now or utcnow()
    chance = random.Random(17)
    made = _jobs(jobs, now, chance)
    while batch := list(itertools.islice(made, BATCH)):
        with store.begin(timeout=120) as connection:
            write_jobs(connection, [row for row, _ in batch])
            if attempts := [attempt for _, found in batch for attempt in found]:
                connection.execute(insert(tables.attempts), attempts)
    rows = list(_totals(now, days, chance))  # before the transaction, which the database ends if it idles
    for at in range(0, len(rows), 500):
        with store.begin(timeout=120) as connection:
            add_totals(connection, rows[at : at + 500])
    if schedules:
        with store.begin(timeout=120) as connection:
            connection.execute(insert(tables.schedules), list(_schedules(schedules, now)))
    dead = _letters(letters, now, chance)
    while some := list(itertools.islice(dead, 1000)):
        archive(store, some, worker=WORKERS[0], known=TASKS.__contains__)
    alive(store, workers, now)


def alive(store: Store, workers: int = 8, now: datetime | None = None) -> None:
    """Write the heartbeats of the workers and of Beat; the last worker is late."""
    now, chance = now or utcnow(), random.Random(5)
    for number in range(workers):
        heartbeats.write(store, _worker(number, now, chance))
    heartbeats.tick(store, "beat@app-1", now)


def _jobs(count: int, now: datetime, chance: random.Random) -> Iterator[tuple[JobRow, list[dict[str, Any]]]]:
    names, week = list(TASKS), 7 * 86_400.0
    weights = [3.0 / (0.3 + TASKS[name][1]) ** 0.5 for name in names]
    for number in range(count):
        share = 1 - number / count
        at = now - timedelta(seconds=week * share**2)
        (task,) = chance.choices(names, weights)
        yield _job(task, at, now, chance, last=number > count - 400)


def _job(
    task: str, at: datetime, now: datetime, chance: random.Random, last: bool
) -> tuple[JobRow, list[dict[str, Any]]]:
    queue, usual = TASKS[task]
    runtime = usual * chance.lognormvariate(0, 0.5)
    wait = chance.expovariate(2.0)
    worker, job_id = chance.choice(WORKERS), new_id()
    states = ("succeeded", "retrying", "cancelled", "skipped", "expired", "queued", "running")
    (state,) = chance.choices(states, (60, 12, 1, 2, 1, 20, 4) if last else (985, 2, 3, 8, 2, 0, 0))
    failed = state == "retrying" or chance.random() < 0.02
    attempts = 2 if failed and state == "succeeded" else int(state not in ("queued", "expired", "skipped"))
    started = at + timedelta(seconds=wait) if attempts else None
    ended = state not in ("queued", "running", "retrying")
    finished = (started or at) + timedelta(seconds=runtime) if ended else None
    error = (
        ("requests.exceptions.Timeout", "HTTPSConnectionPool: Read timed out. (read timeout=30)")
        if failed
        else (None, None)
    )
    error = error if state == "retrying" else (None, None)
    steps = {"queued": 0, "running": 1, "retrying": 2}
    row = JobRow(
        id=job_id,
        task=task,
        queue=queue,
        state=state,
        place=attempts << 8 | steps.get(state, 3),
        run=0,
        attempts=attempts,
        max_retries=5,
        args=f"({chance.randrange(10**6)},)",
        kwargs=json.dumps({"locale": chance.choice(["en", "de", "fr"])}).replace('"', "'"),
        progress={"done": 37, "total": 120, "message": "rows"} if state == "running" and usual > 5 else None,
        error=error[0],
        error_message=error[1],
        enqueued_at=at,
        started_at=started,
        finished_at=finished,
        due_at=now + timedelta(seconds=chance.uniform(5, 900)) if state == "retrying" else None,
        worker=worker if attempts else None,
        request_id=f"req-{chance.randrange(10**8):08d}",
        updated_at=finished or started or at,
        kind=kind_of(state, task, queue, worker if attempts else None, error[0]),
    )
    found = [_failed(row, task, worker, wait, runtime)] if failed and started else []
    return row, found


def _failed(row: JobRow, task: str, worker: str, wait: float, runtime: float) -> dict[str, Any]:
    module, name = task.split(".")
    error, message = "requests.exceptions.Timeout", "HTTPSConnectionPool: Read timed out. (read timeout=30)"
    assert row.started_at is not None
    return {
        "job_id": row.id,
        "run": 0,
        "number": 1,
        "started_at": row.started_at - timedelta(seconds=1 if row.state == "retrying" else 40),
        "worker": worker,
        "wait": wait,
        "ended_at": row.started_at,
        "outcome": "retried",
        "runtime": runtime,
        "error": error,
        "message": message,
        "traceback": TRACEBACK.format(module=module, name=name, error=error, message=message),
        "due_at": row.due_at or row.started_at,
    }


def _totals(now: datetime, days: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Every minute of two hours, every ten minutes of two days, and every hour of thirty days, but at most ``days``."""
    minute = now.replace(second=0, microsecond=0)
    moments = [(minute - timedelta(minutes=n), 2.0) for n in range(120)]
    moments += [(minute - timedelta(minutes=10 * n), 20.0) for n in range(12, 280)]
    hour = minute.replace(minute=0)
    moments += [(hour - timedelta(hours=n), 120.0) for n in range(49, 720)]
    for at, scale in (each for each in moments if now - each[0] <= timedelta(days=days)):
        busy = 0.35 + 0.65 * max(0.0, 1 - abs(at.hour - 13) / 11)
        trouble = 6.0 if timedelta(minutes=18) < now - at < timedelta(minutes=34) else 1.0
        for task, (queue, usual) in TASKS.items():
            count = int(scale * busy * chance.uniform(0.5, 1.6) / (0.2 + usual) ** 0.4)
            if count:
                yield _total(
                    at, task, queue, Outcome.SUCCEEDED, count, usual * (1 + trouble / 20), trouble, chance
                )
            bad = sum(chance.random() < 0.006 * trouble for _ in range(min(count, 60)))
            if bad:
                yield _total(at, task, queue, Outcome.RETRIED, bad, usual * 2, trouble, chance)
            if bad > 1:
                yield _total(at, task, queue, Outcome.DEAD, bad // 2, usual * 2, trouble, chance)


def _total(
    at: datetime,
    task: str,
    queue: str,
    outcome: Outcome,
    count: int,
    runtime: float,
    wait: float,
    chance: random.Random,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "minute": at, "task": task, "queue": queue, "outcome": outcome.value, "worker": chance.choice(WORKERS),
        "count": count, "runtime_sum": runtime * count, "wait_sum": 0.2 * wait * count,
    }  # fmt: skip
    for kind, usual in (("runtime", runtime), ("wait", 0.12 * wait)):
        columns = dict.fromkeys(bucket_columns(kind), 0)
        for _ in range(count):
            value = usual * chance.lognormvariate(0, 0.6)
            at_bucket = next((n for n, bound in enumerate(BUCKETS) if value <= bound), len(BUCKETS))
            columns[bucket_columns(kind)[at_bucket]] += 1
        row |= columns
    return row


def _letters(count: int, now: datetime, chance: random.Random) -> Iterator[DeadLetter]:
    weights = [180, 70, 45, 30, 22, 15, 12, 9, 7, 5, 3, 2]
    for _ in range(count):
        (crash,) = chance.choices(CRASHES, weights)
        task, error, message, reason = crash
        at = now - timedelta(
            minutes=chance.expovariate(1 / 25.0) if crash is CRASHES[0] else chance.uniform(5, 6000)
        )
        said = message.format(n=chance.randrange(1000, 9999))
        module, name = task.split(".")
        job_id = new_id()
        headers: dict[str, Any] = {"id": job_id, "task": task, "retries": 2, "eta": None, "expires": None}
        queue = TASKS.get(task, ("celery", 1))[0]
        message_headers.stamp(headers, queue=queue, at=at - timedelta(minutes=3), request_id="req-1")
        ended = Attempt(3, at.isoformat(), WORKERS[0], 0.5, error, said)
        traceback = TRACEBACK.format(module=module, name=name, error=error, message=said)
        buried = burial.buried(
            headers,
            reason=reason,
            failure=Failure(error, said, traceback),
            queue=queue,
            worker=WORKERS[0],
            at=at,
            ended=ended,
        )
        body = json.dumps([[chance.randrange(10**6)], {"locale": "en", "password": "hunter2"}, {}]).encode()
        properties = {
            "correlation_id": job_id,
            "content_type": "application/json",
            "content_encoding": "utf-8",
        }
        yield burial.dead_letter(body, buried, properties, "application/json", "utf-8")


def _schedules(count: int, now: datetime) -> Iterator[dict[str, Any]]:
    for number, (task, (queue, _)) in zip(range(count), TASKS.items(), strict=False):
        yield {
            "name": f"{task.replace('.', ' ')} {'nightly' if number % 2 else 'often'}",
            "last_run_at": now - timedelta(hours=number), "total_run_count": 100 * number,
            "last_due_at": now - timedelta(hours=number),
            "next_at": now + timedelta(minutes=7 * number + 2), "task": task, "queue": queue,
            "spec": f"{number} 3 * * *" if number % 2 else "every 15 min", "timezone": "Europe/Berlin",
            "paused_at": now - timedelta(hours=2) if number == 4 else None,
            "paused_by": "ada@ops" if number == 4 else None,
            "last_job_id": new_id(),
        }  # fmt: skip


def _worker(number: int, now: datetime, chance: random.Random) -> WorkerHeartbeat:
    busy = [
        {
            "job_id": new_id(),
            "task": chance.choice(list(TASKS)),
            "started_at": now.timestamp() - chance.uniform(0, 40),
            "time_limit": 330,
        }
        for _ in range(chance.randrange(0, 5))
    ]
    late = timedelta(minutes=4) if number == 7 else timedelta()
    return WorkerHeartbeat(
        name=WORKERS[number % len(WORKERS)], hostname=f"app-{number // 2 + 1}", pid=1000 + number,
        started_at=now - timedelta(hours=5 + number), seen_at=now - late, loop_at=now - late, busy=busy, concurrency=4,
        queues=("celery", "mail", "images") if number % 2 else ("billing", "hooks", "reports", "search"),
        version="0.1.0", app_version="v214" if number < 6 else "v213", memory=180_000_000 + number * 9_000_000,
    )  # fmt: skip


if __name__ == "__main__":
    made = Store(sys.argv[1])
    fill(made, int(sys.argv[2]) if len(sys.argv) > 2 else 100_000)
    made.close()
