"""An app that sets up logging as Flask's documentation does: job events are logged once, and its set-up stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from system import running

APP = """
import logging, logging.config, os
from flask import Flask, jsonify
from flask_nightshift import Nightshift

jobs = Nightshift()

@jobs.task(name="guest.work")
def work():
    logging.getLogger("guestapp.work").info("said by the task")
    logging.getLogger("named").info("said by name")

def documented():
    logging.config.dictConfig({
        "version": 1,
        "formatters": {"default": {"format": "[%(asctime)s] %(levelname)s in %(module)s: %(message)s"}},
        "handlers": {
            "wsgi": {"class": "logging.StreamHandler", "stream": "ext://flask.logging.wsgi_errors_stream",
                     "formatter": "default"},
            "file": {"class": "logging.FileHandler", "filename": os.environ["THEIRS"], "formatter": "default"},
        },
        "root": {"level": "INFO", "handlers": ["wsgi", "file"]},
        "loggers": {"named": {"handlers": ["wsgi"]}},
    })

def create_app():
    if os.environ["WHEN"] == "before":
        documented()
    app = Flask("guestapp", instance_path=os.environ["INSTANCE"])
    app.logger.warning("said by the factory")
    jobs.init_app(app)
    if os.environ["WHEN"] == "after":
        documented()

    @app.post("/work")
    def enqueue():
        return jsonify(id=work.delay().id)

    return app
"""


@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_nothing_is_silenced_doubled_or_taken_away(valkey: Any, tmp_path: Path, when: str) -> None:
    (tmp_path / "guestapp.py").write_text(APP)
    theirs = tmp_path / "theirs.log"
    more = {
        "FLASK_APP": "guestapp",
        "PYTHONPATH": str(tmp_path),
        "WHEN": when,
        "THEIRS": str(theirs),
        "PYTHONUNBUFFERED": "1",
    }
    with running(tmp_path, valkey.fresh_url(), **more) as system:
        worker = system.worker("--concurrency", "1")
        web = system.web()
        assert system.http is not None
        job_id = system.http.post("/work").json()["id"]
        system.until(lambda: worker.lines("job.succeeded", job_id=job_id), 20, "the job is not told of")
        for event in ("job.started", "said by the task", "job.succeeded"):
            assert len(worker.lines(event, job_id=job_id)) == 1, worker.log
        for text in ("said by the factory", "said by the task", "said by name"):
            assert sum(text in line for line in worker.log.splitlines()) == 1, worker.log
        assert not any("asctime" in line for line in worker.lines("said by the task"))
        if when != "never":
            system.until(lambda: "job.enqueued" in web.log, 10, "the web process is silent")
            assert web.log.count("job.enqueued") == 1
            for text in ("said by the task", "job.succeeded"):
                assert theirs.read_text().count(text) == 1


def test_a_receiver_of_celery_s_signal_has_the_logging_of_the_worker(valkey: Any, tmp_path: Path) -> None:
    own = APP.replace(
        "jobs = Nightshift()",
        "jobs = Nightshift()\nfrom celery.signals import setup_logging\n"
        'setup_logging.connect(lambda **_: logging.basicConfig(format="OWN %(message)s", level="INFO"), weak=False)',
    )
    (tmp_path / "guestapp.py").write_text(own)
    more = {"FLASK_APP": "guestapp", "PYTHONPATH": str(tmp_path), "WHEN": "never", "THEIRS": ""}
    with running(tmp_path, valkey.fresh_url(), **more) as system:
        worker = system.worker("--concurrency", "1")
        assert "OWN worker.started" in worker.log
        assert not worker.lines("worker.started")
        system.web()
        assert system.http is not None
        system.http.post("/work")
        system.until(lambda: "OWN job.succeeded" in worker.log, 20, "the job is not told of")
