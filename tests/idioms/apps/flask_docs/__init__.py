"""The example in Flask's documentation ("Background Tasks with Celery"); ``celery_init_app`` takes our Celery app."""

import os

from celery import Celery, Task
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    app.config.from_mapping(NAME="docs")
    celery_init_app(app)

    from . import views

    app.register_blueprint(views.bp)
    return app


def celery_init_app(app: Flask) -> Celery:
    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    jobs.init_app(app)
    celery_app = app.extensions["celery"]
    celery_app.Task = FlaskTask
    celery_app.set_default()
    return celery_app
