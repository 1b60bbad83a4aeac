"""An app whose jobs' headers exceed one frame of RabbitMQ."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift, PermanentFailure

jobs = Nightshift()
FAST = {"retry_backoff": 0.05, "retry_jitter": False}
EMOJI = "\N{PILE OF POO}"


class Loud(Exception):
    """An exception with a long message."""


def note(marker: str, event: str) -> None:
    """Write a line to the ledger."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


def deep(depth: int) -> None:
    """Raise an exception with a long traceback and a long message."""
    if depth:
        deep(depth - 1)
    raise Loud(EMOJI * 20_000)


@jobs.task(name="bounds.loud", max_retries=3, **FAST)
def loud(marker: str) -> None:
    note(marker, "begun")
    deep(50)


@jobs.task(name="bounds.permanent", **FAST)
def permanent(marker: str) -> None:
    note(marker, "begun")
    raise PermanentFailure(f"the real reason {EMOJI * 20_000}")


@jobs.task(name="bounds.fine", ignore_result=False, **FAST)
def fine(marker: str) -> None:
    note(marker, "done")


@jobs.task(name="bounds.nested")
def nested(marker: str, value: Any) -> None:
    note(marker, "done")


def create_app(**config: str) -> Flask:
    """The app; its settings come from the environment or from ``config``."""
    app = Flask("boundsapp", instance_path=config.pop("INSTANCE", None) or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)
    return app
