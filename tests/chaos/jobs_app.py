"""The Flask app of the workers under test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift

from . import task_bodies

jobs = Nightshift()


@jobs.task(name="chaos.work", bind=True, max_retries=5, retry_backoff=0.1, retry_backoff_max=1)
def work(self: Any, seconds: float, failures: int = 0) -> None:
    """A job that works for a while."""
    task_bodies.work(self.request, seconds, failures)


@jobs.task(name="chaos.poison", bind=True)
def poison(self: Any) -> None:
    """A job that kills its worker."""
    task_bodies.kill_worker(self.request)


def create_app(settings: Mapping[str, str] | None = None) -> Flask:
    """The app; its settings come from the environment, or from ``settings``."""
    app = Flask("chaos", instance_path=(settings or os.environ)["CHAOS_FOLDER"])
    app.config.update(
        {key: value for key, value in (settings or {}).items() if key.startswith("NIGHTSHIFT_")}
    )
    jobs.init_app(app)
    return app
