"""An app with an entry for each second and one for each minute.

Each job writes a line: its id, its entry, and ``again`` where the broker delivers the message again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()
EVERY = {"second": 1, "minute": 60}


@jobs.task(name="tick.note", bind=True)
def note(self: Any, entry: str) -> None:
    again = " again" if self.request.delivery_info.get("redelivered") else ""
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(f"{self.request.id} {entry}{again}\n")


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    whens = {"second": 1, "minute": "* * * * *"}
    app.config["NIGHTSHIFT_SCHEDULE"] = {
        name: {"task": "tick.note", "schedule": when, "args": [name], "catch_up": "all"}
        for name, when in whens.items()
    }
    jobs.init_app(app)
    return app
