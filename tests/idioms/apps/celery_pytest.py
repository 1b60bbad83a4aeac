"""Celery's fixtures for pytest with the Celery app of a Flask app: ``conftest.py`` and tests in one file."""

import os

import a_library
import pytest
from celery import chord, group, shared_task
from celery.contrib.testing.tasks import ping
from flask import Flask, current_app

from flask_nightshift import Nightshift

pytest_plugins = ["celery.contrib.pytest"]
jobs = Nightshift()


@jobs.task(name="add", ignore_result=False)
def add(x: int, y: int) -> int:
    return x + y


@shared_task(name="whose")
def whose() -> str:
    return current_app.name


def celery_of(name: str):
    app = Flask(name, instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)
    return app.extensions["celery"]


@pytest.fixture
def celery_app(request):
    with celery_of(request.node.name).services.app.app_context():
        yield current_app.extensions["celery"]


@pytest.fixture(scope="session")
def celery_session_app():
    return celery_of("session")


@pytest.fixture(scope="session")
def celery_worker_parameters():
    return {"shutdown_timeout": 30}


def test_one(celery_app, celery_worker):
    assert add.delay(1, 2).get(timeout=20) == 3
    assert whose.apply_async(ignore_result=False).get(timeout=20) == "test_one"


def test_another(celery_app, celery_worker):
    assert whose.apply_async(ignore_result=False).get(timeout=20) == "test_another"
    assert group(whose.s(), whose.s()).apply_async().get(timeout=20) == ["test_another"] * 2


def test_with_the_worker_of_the_session(celery_session_app, celery_session_worker):
    with celery_session_app.services.app.app_context():
        assert ping.delay().get(timeout=20) == "pong"
        assert a_library.greet.delay("you").get(timeout=20) == "Hello, you"
        assert whose.delay().get(timeout=20) is None  # one of the app's own, which asked for no result
        assert add.delay(2, 2).get(timeout=20) == 4
        body = celery_session_app.tasks["celery.accumulate"].s()
        assert chord([add.s(1, 1), add.s(2, 2)], body).apply_async().get(timeout=20) == [[2, 4]]
