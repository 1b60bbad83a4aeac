"""An app whose worker writes the names of its modules, of its main process and of a child, into the ledger."""

from __future__ import annotations

import os
import sys

from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def note(process: str) -> None:
    """Write a line to the ledger."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{process} {' '.join(sorted(sys.modules))}\n")


@jobs.task(name="imports.child")
def child() -> None:
    note("child")


def create_app() -> Flask:
    """The app; the main process of its worker notes its modules at the end of each job."""
    app = Flask("importsapp", instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)
    jobs.services.events.subscribe(
        lambda event: note("main") if type(event).__name__ == "JobSucceeded" else None
    )
    return app
