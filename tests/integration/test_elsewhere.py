"""``flask jobs doctor`` on an app that came from RQ, Flower, Flask's recipe for Celery, or an add-on for locks."""

from __future__ import annotations

from pathlib import Path

import celery
import pytest
from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.observe.doctor import examine


def findings(app: Flask, check: str) -> list[tuple[str, str, str]]:
    found = examine(app.extensions["nightshift"])
    return [
        (each.level, each.message, each.remedy)
        for each in found
        if each.check == check and each.level != "ok"
    ]


def test_settings_of_rq_and_flower_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(RQ_REDIS_URL="redis://:secret@cache", RQ_DASHBOARD_POLL_INTERVAL=2, RQUEUE="x")
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "ada:secret")
    Nightshift(app)
    found = findings(app, "settings")
    assert [text.partition(" ")[0] for _, text, _ in found] == [
        "RQ_DASHBOARD_POLL_INTERVAL", "RQ_REDIS_URL", "FLOWER_BASIC_AUTH",
    ]  # fmt: skip
    assert "NIGHTSHIFT_BROKER_URL" in found[1][2]
    assert "NIGHTSHIFT_DASHBOARD_AUTH" in found[2][2]
    assert "secret" not in str(found)


def test_base_classes_are_named(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    jobs = Nightshift(app)

    class FlaskTask(celery.Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    class QueueOnce(celery.Task):
        __module__ = "celery_once.tasks"

    class Plain(celery.Task):
        pass

    for base in (FlaskTask, QueueOnce, Plain):

        @jobs.task(name=base.__name__, base=base)
        def task() -> None: ...

    once, call = findings(app, "tasks")
    assert once[:2] == (
        "warning", "QueueOnce of celery-once locks QueueOnce until a timeout if their worker is killed",
    )  # fmt: skip
    assert "unique='until_done'" in once[2]
    assert call[0] == "info"
    assert "the base class FlaskTask of FlaskTask has a __call__" in call[1]
