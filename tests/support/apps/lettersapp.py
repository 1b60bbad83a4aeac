"""An app whose jobs die of wrong arguments; the ledger has the arguments with which bodies did their work."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import current_task
from flask import Flask

from flask_nightshift import Nightshift, PermanentFailure

jobs = Nightshift()


def note(*what: Any) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{json.dumps([current_task.request.id, current_task.name, *what])}\n")


def check(amount: int) -> None:
    if amount < 0:
        raise PermanentFailure(f"{amount} is no amount")


@jobs.task(name="letters.pay")
def pay(user_id: int, amount: int, token: str = "", *, note_to: str = "") -> int:
    check(amount)
    note(user_id, amount, token, note_to)
    return amount


@jobs.task(name="letters.after")
def after(*args: Any) -> Any:
    note(*args)
    return args[0]


@jobs.task(name="letters.only", unique="until_done", queue="quiet")
def only(user_id: int, amount: int) -> None:
    check(amount)
    note(user_id, amount)


@jobs.task(
    name="letters.keyed", unique="until_done", unique_key=lambda user_id, amount: user_id, queue="quiet"
)
def keyed(user_id: int, amount: int) -> None:
    check(amount)
    note(user_id, amount)


@jobs.task(name="letters.once", idempotency_key=lambda user_id, amount: str(user_id))
def once(user_id: int, amount: int) -> None:
    check(amount)
    note(user_id, amount)


@jobs.task(name="letters.kept", durable=True)
def kept(user_id: int) -> None:
    note(user_id)


@jobs.task(name="letters.heard")
def heard(request: Any, exc: BaseException, traceback: Any) -> None:
    note("errback", type(exc).__name__)


def create_app(**config: Any) -> Flask:
    app = Flask("lettersapp", instance_path=config.pop("INSTANCE", None) or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)
    return app
