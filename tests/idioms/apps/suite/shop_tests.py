"""A typical test suite: an app for each test, and jobs that run eagerly or as plain functions."""

import os
import resource

import pytest
from flask import Flask, current_app

from flask_nightshift import Nightshift, PermanentFailure

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))  # an app that is gone holds no descriptor
jobs = Nightshift()
ran = []


@jobs.task(name="note", ignore_result=False, autoretry_for=(OSError,), max_retries=2)
def note(value):
    ran.append((current_app.config["NUMBER"], value))
    if value == "busy" and ran.count(ran[-1]) < 2:
        raise OSError("busy")
    if value == "never":
        raise PermanentFailure("never")
    return value


def create_app(number, folder):
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(TESTING=True, NUMBER=number, NIGHTSHIFT_CELERY={"task_always_eager": True})
    jobs.init_app(app)
    app.add_url_rule("/", view_func=lambda: note.delay("web").get())
    return app


@pytest.fixture(params=range(int(os.environ["APPS"])))
def app(request, tmp_path):
    ran.clear()
    return create_app(request.param, tmp_path)


def test_a_view_runs_its_job_at_once(app):
    assert app.test_client().get("/").text == "web"
    assert ran == [(app.config["NUMBER"], "web")]


def test_eager_jobs_are_retried_and_fail(app):
    with app.app_context():
        assert note.delay("busy").get() == "busy"
        assert len(ran) == 2
        assert note.delay("never").state == "FAILURE"
        assert note("plain") == "plain"
