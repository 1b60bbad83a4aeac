"""A plain Celery app with some tasks of ``jobsapp`` and one of its own; its attempts write ``stock`` to the ledger."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

app = Celery("stockapp", broker=os.environ["NIGHTSHIFT_BROKER_URL"])
app.conf.update(task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True)
RETRY_AFTER = 5
"""Seconds."""


def note(marker: str, event: str) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


@app.task(name="test.nap")
def nap(marker: str, seconds: float) -> None:
    note(marker, "begun")
    note(marker, "stock")
    time.sleep(seconds)
    note(marker, "done")


@app.task(name="test.flaky", bind=True, max_retries=5)
def flaky(self: Any, marker: str, failures: int) -> None:
    note(marker, "begun")
    note(marker, "stock")
    with open(os.environ["LEDGER"], encoding="utf-8") as ledger:
        if sum(line.split() == [marker, "begun"] for line in ledger) <= failures:
            raise self.retry(exc=ConnectionError(), countdown=RETRY_AFTER)
    note(marker, "done")


@app.task(name="test.only_stock")
def only_stock(marker: str) -> None:
    note(marker, "begun")
    note(marker, "stock")
    note(marker, "done")
