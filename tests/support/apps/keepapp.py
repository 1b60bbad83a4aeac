"""Jobs that succeed, fail once, or die, and that get passwords."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift, PermanentFailure

jobs = Nightshift()


def note(marker: str, event: str) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


@jobs.task(name="keep.login", default_retry_delay=0, retry_backoff=False, queue="keep")
def login(what: str, password: Any = "", profile: Any = None) -> str:
    """Succeeds, waits for a file (``wait``), fails once (``flaky``) or dies, by the start of ``what``."""
    note(what, f"got {len(password)}")
    while what.startswith("wait") and not os.path.exists(os.environ["LEDGER"] + ".go"):
        time.sleep(0.05)
    if what.startswith("flaky") and not login.request.retries:
        raise OSError("not yet")
    if what.startswith("dead"):
        raise PermanentFailure("never")
    return "welcome"


@jobs.task(name="keep.hook", idempotency_key=lambda event: event, queue="keep")
def hook(event: str) -> None:
    """Is done once for each event."""
    note(event, "hooked")


@jobs.task(name="keep.alone", unique="until_done", unique_key=lambda number: number, queue="keep")
def alone(number: int) -> None:
    """One at a time for each number."""
    note(f"alone{number}", "ran")


@jobs.task(name="keep.durable", durable=True, queue="keep")
def durable(number: int) -> None:
    """Is kept until it is done."""
    note(f"durable{number}", "ran")


def create_app(**settings: Any) -> Flask:
    """The app; its settings come from the environment, except ``settings``."""
    app = Flask("keepapp", instance_path=os.environ["INSTANCE"])
    app.config.update(settings)
    jobs.init_app(app)
    return app
