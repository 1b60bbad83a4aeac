"""The app of the golden files: a task for each ending. Its settings come from the environment or from ``config``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from celery.exceptions import Reject
from flask import Flask

from flask_nightshift import Nightshift, PermanentFailure

jobs = Nightshift()


@jobs.task(name="golden.plain")
def plain(number: int = 0, **named: Any) -> int:
    return number


@jobs.task(name="golden.kept", ignore_result=False)
def kept(number: int) -> int:
    return number


@shared_task(name="golden.shared")
def shared(number: int) -> int:
    return number


@jobs.task(name="golden.fails", retry_backoff=3600, retry_backoff_max=3600, retry_jitter=False)
def fails(number: int) -> None:
    raise ConnectionError("the partner is down")


@jobs.task(name="golden.flaky", bind=True, retry_backoff=0.1, retry_jitter=False)
def flaky(self: Any, number: int) -> None:
    if not self.request.retries:
        raise ConnectionError("the partner is down")


@jobs.task(name="golden.dies", bind=True)
def dies(self: Any, number: int) -> None:
    wait_for(self.request.id)
    raise PermanentFailure("there is no such account")


@jobs.task(name="golden.returns")
def returns(number: int) -> None:
    """Goes back to its queue once."""
    mark = file_of("returned")
    if not mark.exists():
        mark.touch()
        raise Reject("not now", requeue=True)


@jobs.task(name="golden.held")
def held() -> None:
    wait_for("go-on")


@jobs.task(name="golden.parent")
def parent(number: int) -> None:
    plain.apply_async((number,), queue="later")


def wait_for(name: str) -> None:
    """Return when the test has made the file."""
    deadline = time.monotonic() + 60
    while not file_of(name).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def file_of(name: str) -> Path:
    return Path(os.environ["LEDGER"]).with_name(name)


def create_app(**config: Any) -> Flask:
    app = Flask("golden", instance_path=config.pop("INSTANCE", None) or os.environ["INSTANCE"])
    schedule: dict[str, Any] = {}
    if os.environ.get("WITH_NIGHTLY"):
        schedule["nightly"] = {"task": "golden.plain", "schedule": "30 2 * * 1-5", "args": (3,)}
    if os.environ.get("WITH_SCHEDULE"):
        entry = {"task": "golden.plain", "schedule": 1, "args": (1,), "kwargs": {"name": "Jörg"}}
        schedule["every-second"] = entry
    app.config["NIGHTSHIFT_SCHEDULE"] = schedule
    app.config.update(config)
    jobs.init_app(app)
    return app
