"""Flask-CeleryExt (Invenio's); its ``create_celery_app`` returns Nightshift's Celery app."""

import os

from celery import shared_task
from flask import Flask, g, has_request_context
from flask_celeryext import AppContextTask, FlaskCeleryExt, RequestContextTask
from ledger import note

from flask_nightshift import Nightshift

jobs = Nightshift()


def use_nightshift(app):
    jobs.init_app(app)
    celery = app.extensions["celery"]
    celery.flask_app = app
    celery.Task = AppContextTask
    return celery


ext = FlaskCeleryExt(create_celery_app=use_nightshift)


@shared_task
def plain(n):
    note("plain", n)


@shared_task(base=RequestContextTask)
def in_request():
    note("in_request", has_request_context(), g.user)


@shared_task(base=RequestContextTask, bind=True, max_retries=1, retry_backoff=0.1)
def fails(self):
    note("fails", self.request.retries)
    raise OSError("away")


def create_app():
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    app.config["NAME"] = "celeryext"

    @app.before_request
    def load_user():
        g.user = "loaded"

    ext.init_app(app)
    return app


app = create_app()
celery = ext.celery
