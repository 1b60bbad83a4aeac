"""The app in which ``test_logs.py`` follows one job through web, worker, retry, death and replay."""

from __future__ import annotations

import logging
import os
from typing import Any

import structlog
from flask import Flask, jsonify

from flask_nightshift import Nightshift, logs

jobs = Nightshift()


@jobs.task(name="logs.fails", max_retries=1, retry_backoff=0.2, retry_jitter=False, queue="talk")
def fails() -> None:
    logging.getLogger("shop").info("through logging", extra={"order": 5})
    structlog.get_logger("shop").info("through structlog", order=5)
    print("through print")
    logging.getLogger("shop").info("a secret redis://user:hunter2@cache.example/0")
    if not os.path.exists(os.environ["LEDGER"] + ".mended"):
        raise ConnectionError("amqp://user:hunter2@partner.example refused")


def create_app() -> Flask:
    app = Flask("logsapp", instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)
    logs.configure(app)

    @app.post("/enqueue")
    def enqueue() -> Any:
        logging.getLogger("shop.web").info("about to enqueue")
        return jsonify(id=fails.delay().id), 202

    return app
