"""``celery.contrib.pytest`` and ``nightshift_jobs`` in one suite, with one app for all tests."""

import threading

import pytest
from celery.contrib.testing.tasks import ping  # noqa: F401 - the fixture calls it
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()
where = []


@jobs.task(name="beside.add", ignore_result=False)
def add(x, y):
    where.append(threading.current_thread())
    return x + y


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    app = Flask("beside", instance_path=str(tmp_path_factory.mktemp("beside")))
    app.config.update(TESTING=True, NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DATABASE_URL="sqlite://")
    jobs.init_app(app)
    return app


@pytest.fixture
def celery_app(app):
    return app.extensions["celery"]


@pytest.mark.parametrize("time", ["before", "after"])
def test_a_worker_of_celery(celery_app, celery_worker, time):
    assert add.delay(1, 2).get(timeout=20) == 3
    assert where.pop() is not threading.current_thread()


def test_ours_between_them(app, nightshift_jobs):
    result = add.delay(1, 2)
    nightshift_jobs.drain()
    assert result.get(timeout=1) == 3
    assert where.pop() is threading.current_thread()
