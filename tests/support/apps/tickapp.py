"""An app with an entry for each second; no worker takes its jobs."""

from __future__ import annotations

import os

from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


@jobs.task(name="tick.note", queue="ticks")
def note() -> None:
    """Never runs here."""


def create_app() -> Flask:
    app = Flask("tickapp", instance_path=os.environ["INSTANCE"])
    app.config["NIGHTSHIFT_SCHEDULE"] = {"second": {"task": "tick.note", "schedule": 1, "catch_up": "all"}}
    jobs.init_app(app)
    return app
