"""An app whose jobs are cancelled; the ledger has what their bodies did, and what their errbacks got."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask

from flask_nightshift import Cancelled, Nightshift

jobs = Nightshift()


def note(marker: str, event: str) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


@jobs.task(name="cancel.work", ignore_result=False)
def work(marker: str) -> None:
    note(marker, "begun")


@jobs.task(name="cancel.limited", rate_limit="1/h")
def limited(marker: str) -> None:
    note(marker, "begun")


@jobs.task(name="cancel.only", unique="until_done", queue="others")
def only(marker: str) -> None:
    note(marker, "begun")


@jobs.task(name="cancel.keep", durable=True)
def keep(marker: str) -> None:
    note(marker, "begun")


@jobs.task(name="cancel.loop", ignore_result=False, max_retries=3)
def loop(marker: str, catches: bool = False) -> None:
    """Stop when the job is cancelled, or believe that it is done all the same."""
    note(marker, "begun")
    try:
        for _ in range(3000):
            jobs.current.check_cancelled()
            time.sleep(0.01)
    except Cancelled:
        note(marker, "stopped")
        if not catches:
            raise


@jobs.task(name="cancel.fail_when_asked", max_retries=5, retry_backoff=0, default_retry_delay=0)
def fail_when_asked(marker: str) -> None:
    note(marker, "begun")
    while not jobs.current.cancelled:
        time.sleep(0.01)
    raise OSError("what it needs is gone")


@jobs.task(name="cancel.hang", time_limit=600, soft_time_limit=590)
def hang(marker: str) -> None:
    note(marker, "begun")
    time.sleep(500)


@jobs.task(name="cancel.fail", max_retries=5, retry_kwargs={"countdown": 600})
def fail(marker: str) -> None:
    note(marker, "begun")
    raise OSError("away")


@jobs.task(name="cancel.die", max_retries=0)
def die(marker: str) -> None:
    raise OSError("away")


@jobs.task(name="cancel.heard")
def heard(request: Any, exc: BaseException, traceback: Any) -> None:
    note(request.id, f"errback {type(exc).__name__}")


def create_app(**config: str) -> Flask:
    app = Flask("cancelapp", instance_path=config.pop("INSTANCE", None) or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)
    return app
