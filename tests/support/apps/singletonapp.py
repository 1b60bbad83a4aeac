"""An app whose tasks have the base class of celery-singleton, for ``test_singleton.py``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from celery_singleton import Singleton
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def note(marker: str) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} ran\n")


@jobs.task(name="single.works", base=Singleton, ignore_result=False)
def works(marker: str) -> str:
    note(marker)
    return marker


@jobs.task(name="single.fails", base=Singleton, max_retries=1, retry_backoff=0.1, retry_jitter=False)
def fails(marker: str) -> None:
    note(marker)
    raise ValueError(marker)


@jobs.task(name="single.dies", base=Singleton, max_retries=0)
def dies(marker: str) -> None:
    note(marker)
    os.kill(os.getpid(), signal.SIGKILL)


@jobs.task(
    name="single.options", base=Singleton, unique_on=["marker"], raise_on_duplicate=True, lock_expiry=60
)
def options(marker: str, rest: Any = None) -> None:
    note(marker)


def create_app(**config: object) -> Flask:
    app = Flask("singletonapp", instance_path=os.environ.get("INSTANCE") or str(Path.cwd()))
    app.config.update(config)
    jobs.init_app(app)
    return app
