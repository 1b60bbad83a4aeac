"""An app with unique tasks, for ``contract/test_unique.py`` and its workers, which are threads of the test."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()
RAN: list[tuple[str, Any]] = []
"""The job id and the argument of each attempt."""
GATES: dict[Any, threading.Event] = defaultdict(threading.Event)
BEGUN: dict[Any, threading.Event] = defaultdict(threading.Event)


def body(task: Any, what: Any) -> None:
    RAN.append((task.request.id, what))
    BEGUN[what].set()
    if str(what).startswith("wait"):
        assert GATES[what].wait(20)
    if str(what).startswith("fail") and task.request.retries == 0:
        raise OSError("once")
    if str(what).startswith("die"):
        raise PermissionError("never")


@jobs.task(name="plain", bind=True)
def plain(self: Any, what: Any) -> None:
    body(self, what)


OPTIONS: dict[str, Any] = {"bind": True, "retry_backoff": 1, "retry_jitter": False,
                           "dont_autoretry_for": (PermissionError,)}  # fmt: skip


@jobs.task(name="done", unique="until_done", **OPTIONS)
def done(self: Any, what: Any, more: int = 0) -> None:
    body(self, what)


@jobs.task(name="started", unique="until_started", **OPTIONS)
def started(self: Any, what: Any) -> None:
    body(self, what)


@jobs.task(
    name="keyed",
    unique="until_done",
    unique_key=lambda what, user: user["id"],
    on_duplicate="raise",
    **OPTIONS,
)
def keyed(self: Any, what: Any, user: dict[str, Any]) -> None:
    body(self, what)


@jobs.task(
    name="newest", unique="until_done", unique_key=lambda what: "one", on_duplicate="replace", **OPTIONS
)
def newest(self: Any, what: Any) -> None:
    body(self, what)


@jobs.task(name="again", unique="until_done", unique_key=lambda what, times=1: "one", **OPTIONS)
def again(self: Any, what: Any, times: int = 1) -> None:
    body(self, what)
    if times:
        options = {"delivery_mode": 2} if str(what).endswith("producer") else {}  # needs Celery's producer
        raise self.replace(self.si("wait", times - 1).set(**options))


def create_app(instance: str, **config: object) -> Flask:
    app = Flask("uniqueapp", instance_path=instance)
    app.config.update(config)
    jobs.init_app(app)
    return app
