"""The cases in the table of docs/how-to/move.md; with ``RESTORE``, the page's lines restore Celery's behaviour."""

import os
import signal
import time

from celery import current_task, shared_task, signals
from flask import Flask
from ledger import note

from flask_nightshift import Nightshift

app = Flask(__name__, instance_path=os.environ["INSTANCE"])
app.config["NAME"] = "moved"
exec(os.environ["RESTORE"])
Nightshift(app)
celery = app.extensions["celery"]


@shared_task
def value():
    note("limits", current_task.soft_time_limit, current_task.time_limit)
    return 42


@shared_task
def fails():
    note("fails", current_task.request.retries)
    raise ValueError("no luck")


@shared_task(bind=True)
def asks(self):
    raise self.retry()


@shared_task(bind=True)
def uses_up(self):
    note("uses_up", self.request.retries)
    raise self.retry(countdown=0.1)


@shared_task
def kills_its_worker():
    note("kills")
    time.sleep(0.5)  # it has begun for some time: what acknowledges it early has done so
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def late():
    note("late")


@signals.task_retry.connect
def retried(sender, **_):
    with app.app_context():
        note("task_retry", sender.name)


@signals.task_failure.connect
def failed(sender, **_):
    with app.app_context():
        note("task_failure", sender.name)
