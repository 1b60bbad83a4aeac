"""A plain Celery app on the lease transport; its tasks keep a ledger on the server."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery

URL = os.environ.get("TRANSPORT_URL", "redis://127.0.0.1:1/0")
ledger = redis.Redis.from_url(URL)

app = Celery("transport_app")
app.conf.update(
    broker_url=URL,
    broker_transport="flask_nightshift.transport:Transport",
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2},
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("TRANSPORT_PREFETCH", "4")),
    worker_cancel_long_running_tasks_on_connection_loss=False,
)


@app.task(name="work")
def work(name: str, seconds: float = 0.0) -> None:
    ledger.rpush("started", name)
    if seconds:
        time.sleep(seconds)
    ledger.rpush("finished", name)
