"""An app whose worker writes into the ledger which modules its processes have, and what is frozen before a fork."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

from celery import signals
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def note(process: str, told: str) -> None:
    """Write a line to the ledger."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{process} {told}\n")


def modules() -> str:
    """The names of the modules that this process has imported."""
    return " ".join(sorted(sys.modules))


@jobs.task(name="imports.child")
def child() -> None:
    note("child", modules())


@signals.worker_before_create_process.connect
def before_fork(**_: Any) -> None:
    note("fork", f"{gc.get_freeze_count()} {len(gc.get_objects())}")


def create_app() -> Flask:
    """The app; the main process of its worker notes its modules at the end of each job."""
    app = Flask("importsapp", instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)
    jobs.services.events.subscribe(
        lambda event: note("main", modules()) if type(event).__name__ == "JobSucceeded" else None
    )
    return app
