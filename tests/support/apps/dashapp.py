"""An app with a dashboard, for tests in a browser: a header names the actor, and jobs end in every way."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from flask import Flask, Request

from flask_nightshift import Actor, Nightshift
from flask_nightshift.domain.actor import PERMISSIONS
from gates import gate

jobs = Nightshift()


def who(request: Request) -> Actor | None:
    """``X-Actor: ada`` may do everything, ``X-Actor: ada: view pause`` only that."""
    name, colon, permissions = request.headers.get("X-Actor", "").partition(":")
    return Actor(name, frozenset(permissions.split() if colon else PERMISSIONS)) if name else None


def create_app(**settings: Any) -> Flask:
    app = Flask("dashapp", instance_path=os.environ["INSTANCE"])
    app.config.update(
        SECRET_KEY="only for tests",
        NIGHTSHIFT_DASHBOARD_AUTH=who,
        NIGHTSHIFT_LINKS={"Logs": "https://logs.example.com/?q={job_id}"},
        NIGHTSHIFT_VERSION=os.environ.get("APP_VERSION", "v1"),
        NIGHTSHIFT_SCHEDULE={
            "nightly report": {"task": "dash.quick", "schedule": "30 3 * * *", "args": ["nightly"]},
            "heartbeat": {"task": "dash.quick", "schedule": 3600},
        },
    )
    app.config.update(settings)
    jobs.init_app(app)
    return app


@jobs.task(name="dash.quick", queue="mail", ignore_result=False)
def quick(name: str = "", **more: Any) -> str:
    """Succeed."""
    return f"done {name}"


@jobs.task(name="dash.hold", queue="mail", max_retries=0)
def hold(name: str, steps: int = 0) -> None:
    """Run until the gate ``name`` opens, and report progress."""
    for step in range(steps):
        jobs.current.progress(step + 1, 10, f"step {step + 1}")
    gate(name)


@jobs.task(name="dash.alone", unique="until_done", unique_key=lambda name: name, max_retries=0)
def alone(name: str) -> None:
    """Run until the gate ``name`` opens; no second one meanwhile."""
    gate(name)


@jobs.task(name="dash.retry", max_retries=3, retry_backoff=600, retry_jitter=False)
def retry(why: str = "the partner is down") -> None:
    """Fail, and wait for a retry."""
    call_partner(why)


@jobs.task(name="dash.dies", dont_autoretry_for=(ValueError,))
def dies(why: str = "no such order", times: int = 1) -> None:
    """Die at once, or, when the gate ``mended`` is open, succeed."""
    if not Path(os.environ["INSTANCE"], "gate.mended").exists():
        charge(why, times)


@jobs.task(name="dash.pay", dont_autoretry_for=(ValueError,))
def pay(order: int, amount: float, token: str = "", *, note: str = "") -> None:
    """Die of a negative amount."""
    if amount < 0:
        raise ValueError(f"order {order} has a negative amount")


@jobs.task(name="mail.send_receipt", queue="mail", max_retries=2, retry_backoff=0.05, retry_jitter=False)
def send_receipt(order: int, email: str) -> str:
    """Fail until the gate ``mail`` is open: the server of the tour's shop."""
    return deliver(email, f"Your order {order}")


@jobs.task(name="billing.refund", queue="billing", dont_autoretry_for=(ValueError,))
def refund(order: int, amount: float, token: str = "") -> float:
    """Die of an amount that is no number."""
    return round(float(amount), 2)


@jobs.task(name="dash.parent")
def parent() -> None:
    """Enqueue two children."""
    quick.delay("first child")
    quick.delay("second child")


def call_partner(why: str) -> None:
    """Fail in a function of the user's."""
    raise ConnectionError(why)


def deliver(email: str, subject: str) -> str:
    """Talk to the mail server."""
    if not Path(os.environ["INSTANCE"], "gate.mail").exists():
        with socket.create_connection(("127.0.0.1", 1), timeout=2):
            pass
    return f"{subject}: sent to {email}"


def charge(why: str, times: int) -> None:
    """Fail for good, with the frame of a library between two of the user's."""

    def read(value: dict[str, Any]) -> dict[str, Any]:
        raise ValueError(why)

    json.loads("{}" * min(times, 1), object_hook=read)
