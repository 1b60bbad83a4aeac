"""An app that sets its schedule in every possible way, most of them after ``init_app``."""

from __future__ import annotations

import os
from typing import Any

from celery import signals
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


@jobs.task(name="beat.note", queue="mail")
def note(who: str) -> None:
    """Never runs here."""


def create_app() -> Flask:
    app = Flask("beatapp", instance_path=os.environ["INSTANCE"])
    app.config["NIGHTSHIFT_SCHEDULE"] = {"before": entry("before"), "replaced": entry("never")}
    app.config["NIGHTSHIFT_CELERY"] = {"beat_schedule": {"celery": entry("celery")}}
    jobs.init_app(app)
    celery = app.extensions["celery"]

    @celery.on_after_configure.connect
    def after_configure(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(1.0, late.s("after_configure"), name="after-configure")

    @celery.on_after_finalize.connect
    def after_finalize(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(1.0, late.s("after_finalize"), name="after-finalize")

    @jobs.task(name="beat.late", queue="mail")  # below its use, as in Celery's documentation
    def late(who: str) -> None:
        """Never runs here."""

    app.config["NIGHTSHIFT_SCHEDULE"] = {"before": entry("before"), "config": entry("config")}
    celery.conf.beat_schedule = {"conf": entry("conf")}
    celery.add_periodic_task(1.0, note.s("added"), name="added")
    if os.environ.get("WRONG"):
        celery.conf.beat_schedule["wrong"] = entry("wrong") | {"schedule": -1}
    return app


def entry(who: str) -> dict[str, Any]:
    return {"task": "beat.note", "schedule": 1, "args": (who,), "queue": "mail"}


@signals.beat_init.connect
def started(sender: Any, **_: Any) -> None:
    print(f"beat_init {type(sender).__name__}", flush=True)


@signals.beat_embedded_init.connect
def embedded(sender: Any, **_: Any) -> None:
    print(f"beat_embedded_init {type(sender).__name__}", flush=True)
