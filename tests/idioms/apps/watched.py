"""An app that reports to Sentry; it writes each event and check-in as a line to a file instead of sending it."""

import contextlib
import json
import os
import time
from typing import Any

import sentry_sdk
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask
from sentry_sdk.envelope import Envelope
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

from flask_nightshift import Nightshift


class Written(Transport):
    def capture_envelope(self, envelope: Envelope) -> None:
        for item in envelope.items:
            if item.type in ("event", "check_in"):
                with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
                    ledger.write(json.dumps({"kind": item.type, **item.payload.json}) + "\n")


sentry_sdk.init(
    dsn="https://key@sentry.invalid/1",
    transport=Written,
    integrations=[CeleryIntegration(monitor_beat_tasks=True)],
)
jobs = Nightshift()


@jobs.task(name="fail", max_retries=1, retry_backoff=0.1)
def fail() -> None:
    raise LookupError("on purpose")


@jobs.task(name="die", max_retries=0)
def die() -> None:
    os._exit(9)


@jobs.task(name="linger", time_limit=1, max_retries=0)
def linger() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(SoftTimeLimitExceeded):
            time.sleep(60)


@jobs.task(name="tidy")
def tidy() -> None:
    pass


def create_app() -> Flask:
    app = Flask("watched", instance_path=os.environ["INSTANCE"])
    app.config.update(
        NIGHTSHIFT_UNKNOWN_TASK_WAIT=0,
        NIGHTSHIFT_SCHEDULE={"tidy-up": {"task": "tidy", "schedule": 60}},
    )
    jobs.init_app(app)

    @app.cli.command("enqueue")
    def enqueue() -> None:
        ids: dict[str, Any] = {task.name: task.delay().id for task in (fail, die, linger)}
        ids["nobody.knows"] = jobs.celery.send_task("nobody.knows").id
        print(json.dumps(ids))

    @app.cli.command("miss-a-tick")
    def miss_a_tick() -> None:
        """As if Beat had been away for an hour."""
        from datetime import timedelta

        from flask_nightshift.domain.job import utcnow
        from flask_nightshift.store import schedules

        schedules.ensure(jobs.services.store, "tidy-up", utcnow() - timedelta(hours=1))

    return app
