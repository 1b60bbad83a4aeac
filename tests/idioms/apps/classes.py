"""A Celery subclass with a ``task_cls``, class-based tasks, and tasks with their own retry logic."""

import os

import celery
from flask import Flask, current_app
from ledger import note

from flask_nightshift import Nightshift


class AuditedTask(celery.Task):
    """What used to be ``class MyCelery(Celery): task_cls = AuditedTask``."""

    abstract = True

    def __call__(self, *args, **kwargs):
        note("audit", self.name)
        return super().__call__(*args, **kwargs)

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        note("on_failure", self.name, type(exc).__name__, current_app.config["NAME"])


app = Flask(__name__, instance_path=os.environ["INSTANCE"])
app.config["NAME"] = "classes"
jobs = Nightshift(app)
celery_app = app.extensions["celery"]
celery_app.task_cls = AuditedTask


class Importer(AuditedTask):
    name = "import.file"
    ignore_result = False

    def __init__(self):
        self.opened = 0

    def run(self, path):
        self.opened += 1
        note("import", path)
        return {"path": path}


importer = celery_app.register_task(Importer())


class Database(celery.Task):
    _connection = None

    @property
    def connection(self):
        if self._connection is None:
            self._connection = "connection"
        return self._connection


@celery_app.task(base=Database, bind=True)
def with_resource(self):
    note("with_resource", self.connection, self.connection is self.connection)


@celery_app.task
def audited():
    note("audited")


@celery_app.task(bind=True, max_retries=3, default_retry_delay=0.1)
def own_retries(self, until):
    try:
        if self.request.retries < until:
            raise ConnectionError("busy")
    except ConnectionError as exc:
        note("busy", self.request.retries)
        raise self.retry(exc=exc, countdown=0.1)  # noqa: B904 - as people write it
    note("taken", self.request.retries)


@celery_app.task(autoretry_for=(ConnectionError,), retry_kwargs={"max_retries": 2, "countdown": 0.1})
def automatic():
    note("automatic")
    raise ConnectionError("always")


@celery_app.task(autoretry_for=())
def once():
    note("once")
    raise ValueError("no retries, as in Celery")
