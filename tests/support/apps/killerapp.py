"""An app with a job that kills its whole worker every time, and innocent jobs."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
from flask import Flask

from flask_nightshift import Nightshift
from jobsapp import note

jobs = Nightshift()
SLOW = 4
"""The number of innocent jobs behind the killer that still run when it kills the worker."""


@jobs.task(name="test.innocent")
def innocent(number: int, seconds: float = 0.005) -> None:
    note(f"innocent-{number}", "begun")
    time.sleep(seconds)
    note(f"innocent-{number}", "done")


@jobs.task(name="test.killer")
def killer(seconds: float = 0.05) -> None:
    """Send SIGKILL to the worker's main process and all its children, while another child runs a job."""
    note("killer", "begun")
    time.sleep(seconds)
    worker = psutil.Process(int(os.environ["WORKER_PID"]))
    for each in [worker, *worker.children(recursive=True)]:
        if each.pid != os.getpid():
            each.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def create_app() -> Flask:
    """The app; its settings come from the environment."""
    os.environ.setdefault("WORKER_PID", str(os.getpid()))
    app = Flask("killerapp", instance_path=os.environ["INSTANCE"])
    multiplier = int(os.environ.get("PREFETCH", "1"))
    app.config["NIGHTSHIFT_CELERY"] = {"worker_prefetch_multiplier": multiplier}
    jobs.init_app(app)
    return app


def fill(count: int, killer_at: int) -> None:
    """Enqueue ``count`` innocent jobs, with the killer among them."""
    with create_app().app_context():
        innocent.enqueue_many([(number,) for number in range(killer_at)])
        killer.delay()
        innocent.enqueue_many([(number, 0.3) for number in range(killer_at, killer_at + SLOW)])
        innocent.enqueue_many([(number,) for number in range(killer_at + SLOW, count)])


if __name__ == "__main__":
    fill(int(sys.argv[1]), int(sys.argv[2]))
