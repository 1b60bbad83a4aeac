"""The app that a real Prometheus watches: jobs that succeed, fail, wait or come with a transaction."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, jsonify, request
from flask_sqlalchemy import SQLAlchemy

from flask_nightshift import Nightshift, PermanentFailure
from flask_nightshift.journal import recorder

db = SQLAlchemy()
jobs = Nightshift()


@jobs.task(name="alert.succeed")
def succeed() -> None:
    pass


@jobs.task(name="alert.fail")
def fail() -> None:
    raise PermanentFailure("there is no such account")


@jobs.task(name="alert.flaky", max_retries=1, retry_backoff=0.1, queue="mail")
def flaky() -> None:
    raise ConnectionError("the partner is down")


TASKS = {"succeed": succeed, "fail": fail, "flaky": flaky}


def create_app() -> Flask:
    """The app; its history and its outbox are in its own database."""
    app = Flask("alertsapp", instance_path=os.environ["INSTANCE"])
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["NIGHTSHIFT_DATABASE_URL"]
    recorder.MAX_RECORDS = int(os.environ.get("MAX_RECORDS", recorder.MAX_RECORDS))
    db.init_app(app)
    jobs.init_app(app)

    @app.post("/enqueue/<name>")
    def enqueue(name: str) -> Any:
        count, options = request.args.get("count", 1, int), request.get_json(silent=True) or {}
        for _ in range(count):
            TASKS[name].apply_async(**options)
        return jsonify(count=count), 202

    @app.post("/commit")
    def commit() -> Any:
        succeed.delay_on_commit()
        db.session.commit()
        return jsonify(count=1), 202

    return app
