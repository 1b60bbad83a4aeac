"""An app for canvas; like most users' tasks, its tasks set no option about results."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import group, shared_task
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def note(marker: str, event: str) -> None:
    """Write a line to the ledger."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


@jobs.task(name="canvas.add")
def add(*numbers: Any) -> Any:
    return sum(add.run(*each) if isinstance(each, list) else each for each in numbers)


@shared_task(name="canvas.double")
def double(number: int) -> int:
    return 2 * number


@jobs.task(name="canvas.after")
def after(path: str, number: int) -> int:
    """Return ``number`` when the file ``path`` exists."""
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.05)
    return number


@jobs.task(name="canvas.keep")
def keep(value: Any) -> Any:
    return value


@jobs.task(name="canvas.fail", max_retries=0)
def fail(*_: Any) -> None:
    raise LookupError("on purpose")


@jobs.task(name="canvas.die", max_retries=0)
def die(*_: Any) -> None:
    os._exit(9)


@jobs.task(name="canvas.silent", ignore_result=True)
def silent(number: int) -> int:
    return number


@jobs.task(name="canvas.flaky", bind=True, retry_backoff=0.1)
def flaky(self: Any, number: int) -> int:
    if not self.request.retries:
        raise ConnectionError("once")
    return number


@jobs.task(name="canvas.eta", bind=True)
def eta(self: Any) -> Any:
    return self.request.eta


@jobs.task(name="canvas.replaced", bind=True)
def replaced(self: Any, number: int) -> Any:
    return self.replace(add.s(number, 1))


@jobs.task(name="canvas.replaced_by_group", bind=True)
def replaced_by_group(self: Any, numbers: list[int]) -> Any:
    return self.replace(group(double.s(number) for number in numbers))


@jobs.task(name="canvas.note_error")
def note_error(request: Any, exc: Any, traceback: Any) -> None:
    note("errback", type(exc).__name__)


@jobs.task(name="canvas.note_body")
def note_body(marker: str, results: Any) -> None:
    note(marker, f"body-{results}")


def create_app(**config: Any) -> Flask:
    """The app; its settings come from the environment, or from ``config``."""
    app = Flask("canvasapp", instance_path=os.environ.get("INSTANCE") or config.pop("INSTANCE"))
    app.config.update(config)
    jobs.init_app(app)
    return app
