"""The app of ``jobsapp.py`` with jobs that do something once; its payments are in the database of the history."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

import jobsapp
from jobsapp import FAST, jobs, note

db = SQLAlchemy()


@jobs.task(name="test.pay", **FAST)
def pay(marker: str, key: str) -> None:
    """Pay ``key`` once; the first attempt of all stays in the block until the file ``go`` is there."""
    with jobs.once(key, db.session) as first:
        if first:
            db.session.execute(text("INSERT INTO payments VALUES (:key)"), {"key": key})
            note(marker, "in the block")
            wait_for_go()
            db.session.commit()
        note(marker, "paid" if first else "paid before")


@jobs.task(name="test.mail_once", **FAST)
def mail_once(marker: str, key: str) -> None:
    """The same without a session, in a body that catches everything."""
    try:
        with jobs.once(key) as first:
            note(marker, "in the block")
            wait_for_go()
            note(marker, "mailed" if first else "mailed before")
    except Exception as exc:  # noqa: BLE001 - as people write it
        note(marker, f"caught {type(exc).__name__}")


@jobs.task(
    name="test.hook", idempotency_key=lambda marker, key: key, ignore_result=False, max_retries=3, **FAST
)
def hook(marker: str, key: str) -> str:
    """Done once for each key; a key that begins with "flaky" fails first."""
    note(marker, "in the body")
    if key.startswith("flaky") and begun(key) == 1:
        raise ConnectionError("once")
    wait_for_go()
    note(marker, "done")
    return key


@jobs.task(name="test.hook_plain", idempotency_key=lambda marker, key: key, **FAST)
async def hook_plain(marker: str, key: str) -> None:
    """A coroutine, and without a result, so that it is an ordinary job."""
    note(marker, "done")


@jobs.task(name="test.asks_again", bind=True, idempotency_key=lambda marker: marker, **FAST)
def asks_again(self: Any, marker: str) -> None:
    """Ask for another attempt in the way that lets the body return."""
    note(marker, "in the body")
    if not self.request.retries:
        self.retry(countdown=0, throw=False)


@jobs.task(name="test.no_key", idempotency_key=lambda marker: None, **FAST)
def no_key(marker: str) -> None:
    note(marker, "in the body")


def begun(key: str) -> int:
    """How often a body has begun for ``key``."""
    path = f"{os.environ['LEDGER']}.{key}"
    with open(path, "a+", encoding="utf-8") as file:
        file.write("x")
        file.seek(0)
        return len(file.read())


def wait_for_go() -> None:
    """Wait until the test lets the block go on."""
    while not os.path.exists(os.environ["LEDGER"] + ".go"):
        time.sleep(0.02)


def create_app() -> Flask:
    """The app of ``jobsapp`` with Flask-SQLAlchemy."""
    app = jobsapp.create_app()
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["NIGHTSHIFT_DATABASE_URL"]
    db.init_app(app)
    return app
