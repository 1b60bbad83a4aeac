"""A plain Celery app on the lease transport or kombu's own; its tasks write a ledger on the server."""

from __future__ import annotations

import json
import os
import time

import redis
from celery import Celery

URL = os.environ.get("TRANSPORT_URL", "redis://127.0.0.1:1/0")
ledger = redis.Redis.from_url(URL)

app = Celery("transport_app")
app.conf.update(
    broker_url=URL,
    result_backend=URL,
    broker_transport_options={
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        **json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}")),
    },
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=int(os.environ.get("TRANSPORT_PREFETCH", "4")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
if transport := os.environ.get("TRANSPORT", "flask_nightshift.transport:Transport"):
    app.conf.broker_transport = transport


@app.task(name="work", ignore_result=True)
def work(name: str, seconds: float = 0.0) -> None:
    ledger.rpush("started", name)
    if seconds:
        time.sleep(seconds)
    ledger.rpush("finished", name)


@app.task(name="spin", ignore_result=True)
def spin(name: str, seconds: float) -> None:
    """Compute without a pause, so that no greenlet and no event loop gets a turn."""
    ledger.rpush("started", name)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    ledger.rpush("finished", name)


@app.task(name="count", ignore_result=True)
def count() -> None:
    """Increment the counter."""
    ledger.incr("count")
