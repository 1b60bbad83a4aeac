"""An app with jobs that fail after their body returned, and jobs that fork copies of their process."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from typing import Any

from celery.exceptions import Reject
from flask import Flask, g

from flask_nightshift import Nightshift

jobs = Nightshift()
FAST = {"retry_backoff": 0.05, "retry_jitter": False}


def note(marker: str, event: str) -> None:
    """Write a line to the ledger."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


@jobs.task(name="after.fine", ignore_result=False, **FAST)
def fine(marker: str) -> str:
    note(marker, "done")
    return marker


@jobs.task(name="after.held", ignore_result=False, **FAST)
def held(marker: str) -> str:
    """Return when a file exists."""
    note(marker, "begun")
    while not os.path.exists(f"{os.environ['LEDGER']}.{marker}"):
        time.sleep(0.05)
    note(marker, "done")
    return f"after-{marker}"


@jobs.task(name="after.fails", ignore_result=False, max_retries=0)
def fails(marker: str) -> None:
    note(marker, "begun")
    raise LookupError("the real error")


@jobs.task(name="after.unstorable", ignore_result=False, **FAST)
def unstorable(marker: str) -> Any:
    """Return a value that neither JSON nor pickle can encode."""
    note(marker, "done")
    return threading.Lock()


class Slow(dict[str, str]):
    """A value that takes two seconds to encode, the first time."""

    def items(self) -> Any:
        if not self.get("encoded"):
            self["encoded"] = "yes"
            time.sleep(2)
        return super().items()


@jobs.task(name="after.slow_value", ignore_result=False, soft_time_limit=1, time_limit=60, **FAST)
def slow_value(marker: str) -> Slow:
    """Return in time what takes longer than the soft limit to encode."""
    note(marker, "begun")
    return Slow(marker=marker)


@jobs.task(name="after.body", ignore_result=False, max_retries=0)
def body(parts: list[Any]) -> int:
    return len(parts)


@jobs.task(name="after.torn_down", **FAST)
def torn_down(marker: str) -> None:
    note(marker, "done")
    g.explode = True


def explode(*_: Any) -> None:
    raise RuntimeError("of a hook")


@jobs.task(name="after.hooks", on_success=explode, after_return=explode, **FAST)
def hooks(marker: str) -> None:
    note(marker, "done")


@jobs.task(name="after.turned_away", bind=True, **FAST)
def turned_away(self: Any, marker: str, times: int) -> None:
    with open(os.environ["LEDGER"], encoding="utf-8") as ledger:
        begun = sum(line.split() == [marker, "begun"] for line in ledger)
    note(marker, "begun")
    if begun < times:
        raise Reject("the lock is taken", requeue=True)
    note(marker, f"done at attempt {self.request.retries + 1}")


@jobs.task(name="after.copies", ignore_result=False, **FAST)
def copies(marker: str) -> str:
    """Fork copies of the process that end in every way, and start a process of ``multiprocessing``."""
    note(marker, "begun")
    original = os.getpid()
    for end in ("exit", "sys.exit", "raise", "return"):
        pid = os.fork()
        if not pid:
            if end == "exit":
                os._exit(0)
            if end == "sys.exit":
                sys.exit(3)
            if end == "raise":
                raise LookupError("of a copy")
            return "a copy"
        note(marker, f"{end} {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")
    try:
        process = multiprocessing.get_context("fork").Process(target=note, args=(marker, "multiprocessing"))
        process.start()
        process.join()
    except AssertionError:  # Celery's children are daemons, which may not have children
        note(marker, "daemonic")
    assert os.getpid() == original
    note(marker, "done")
    return marker


def create_app(**config: str) -> Flask:
    """The app; its settings come from the environment or from ``config``."""
    app = Flask("afterapp", instance_path=config.pop("INSTANCE", None) or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)

    @app.teardown_appcontext
    def tear_down(_: BaseException | None) -> None:
        if g.pop("explode", False):
            raise RuntimeError("of a teardown")

    return app
