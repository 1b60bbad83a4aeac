"""An app whose jobs keep results, for ``test_publishing.py`` and its worker."""

from __future__ import annotations

import os

from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


@jobs.task(name="results.add", ignore_result=False)
def add(a: int, b: int) -> int:
    return a + b


@jobs.task(name="results.total", ignore_result=False)
def total(numbers: list[int]) -> int:
    return sum(numbers)


def create_app(instance: str | None = None, **config: object) -> Flask:
    app = Flask("resultsapp", instance_path=instance or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)
    return app
