"""An app whose jobs fail in every way; its workers record the signals and callbacks of these ends in the ledger."""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import signals
from celery.exceptions import Reject
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def note(marker: str, event: str) -> None:
    """Write a line to the ledger."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


@jobs.task(name="endings.part", ignore_result=False)
def part() -> int:
    return 1


@jobs.task(name="endings.body", ignore_result=False)
def body(parts: list[int]) -> int:
    return sum(parts)


@jobs.task(name="endings.heard")
def heard(request: Any, exc: BaseException, traceback: Any) -> None:
    """The errback."""
    note(request.id, f"errback {type(exc).__name__}")


@jobs.task(name="endings.rejected", ignore_result=False)
def rejected() -> None:
    raise Reject("not for us", requeue=False)


@jobs.task(name="endings.deadly", ignore_result=False, queue="deadly")
def deadly() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)  # at once, so that it does not return and store its result


@jobs.task(name="endings.hang", ignore_result=False, soft_time_limit=1, time_limit=2, max_retries=0)
def hang() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # the soft limit
    signal.pause()


@signals.task_failure.connect
def failure(task_id: str, exception: BaseException, **_: Any) -> None:
    note(task_id, f"task_failure {type(exception).__name__}")


@signals.task_unknown.connect
def unknown(id: str, **_: Any) -> None:  # noqa: A002 - Celery's name
    note(id, "task_unknown")


@signals.task_rejected.connect
def refused(message: Any, **_: Any) -> None:
    note(message.headers["id"], "task_rejected")


@signals.task_revoked.connect
def revoked(request: Any, expired: bool, **_: Any) -> None:
    note(request.id, f"task_revoked expired={expired}")


def create_app(**config: str) -> Flask:
    """The app; its settings come from the environment or from ``config``."""
    app = Flask("endingsapp", instance_path=config.pop("INSTANCE", None) or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)
    return app
