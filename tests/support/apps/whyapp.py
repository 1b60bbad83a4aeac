"""An app whose jobs wait for something, are connected with others, and report their progress."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift
from gates import gate

jobs = Nightshift()


def create_app(**settings: Any) -> Flask:
    app = Flask("whyapp", instance_path=os.environ["INSTANCE"])
    app.config.update(settings)
    jobs.init_app(app)
    return app


@jobs.task(name="why.hold", queue="mail", max_retries=0)
def hold(name: str) -> None:
    Path(os.environ["INSTANCE"], f"held.{name}").touch()
    gate(name)


@jobs.task(name="why.quick", queue="mail")
def quick() -> None:
    pass


@jobs.task(name="why.fails", retry_backoff=600, retry_jitter=False)
def fails() -> None:
    raise ConnectionError("the partner is down")


@jobs.task(name="why.charge", idempotency_key=lambda key: key)
def charge(key: str) -> None:
    gate(key)


@jobs.task(name="why.kept", queue="mail", durable=True)
def kept() -> None:
    pass


@jobs.task(name="why.part", ignore_result=False, max_retries=0)
def part(name: str) -> int:
    if name:
        gate(name)
    return 1


@jobs.task(name="why.total", ignore_result=False)
def total(parts: list[int]) -> int:
    return sum(parts)


@jobs.task(name="why.parent")
def parent() -> None:
    """Enqueue two jobs, one by each wire."""
    quick.delay()
    jobs.celery.send_task("why.quick", queue="mail")


@jobs.task(name="why.count")
def count(name: str, most: int) -> None:
    report(most)
    gate(name)
    jobs.current.progress(most, most, "done")


@jobs.task(name="why.count_async")
async def count_async(name: str, most: int) -> None:
    report(most)
    gate(name)
    jobs.current.progress(most, most, "done")


@jobs.task(name="why.again", max_retries=1, retry_backoff=600, retry_jitter=False)
def again() -> None:
    report(10)
    raise ConnectionError("the partner is down")


@jobs.task(name="why.wrong", max_retries=0)
def wrong() -> None:
    jobs.current.progress(-1, 3)


def report(most: int) -> None:
    """What a body calls: it knows nothing of its job."""
    for done in range(most):
        jobs.current.progress(done, most, "counting")
