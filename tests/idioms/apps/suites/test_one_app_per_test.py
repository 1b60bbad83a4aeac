"""An app for each test; none of them is collected as garbage, and no context is active."""

import datetime as dt

import pytest
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()
kept = []
ran = []


@jobs.task(name="per.test")
def task(word):
    ran.append(word)


@pytest.fixture
def app(tmp_path):
    app = Flask("per_test", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = "amqp://nowhere.invalid"
    jobs.init_app(app)
    kept.append(app)
    return app


@pytest.mark.parametrize("number", range(5))
def test_each_has_its_own_jobs(app, nightshift_jobs, number):
    assert nightshift_jobs.enqueued() == []
    task.delay(number)
    (job,) = nightshift_jobs.enqueued()
    assert job.args == [number]
    nightshift_jobs.drain()
    assert ran.count(number) == 1


def test_a_clock_that_the_test_sets(app, nightshift_jobs, monkeypatch):
    import time

    task.apply_async(("later",), eta=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert nightshift_jobs.drain() == []
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 86_401)
    assert len(nightshift_jobs.drain()) == 1
