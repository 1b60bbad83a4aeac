"""Packages that each have a blueprint and a ``tasks`` module, found by ``autodiscover_tasks``; a Celery schedule."""

import os

from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()


def create_app():
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    app.config["NAME"] = "discovered"
    app.config["NIGHTSHIFT_CELERY"] = {
        "beat_schedule": {
            "from conf": {"task": "discovered.users.tasks.tick", "schedule": 1.0, "args": ("conf",)}
        }
    }
    jobs.init_app(app)
    celery = app.extensions["celery"]
    celery.autodiscover_tasks(["discovered.users"])
    celery.autodiscover_tasks(lambda: ["discovered.mail"], related_name="jobs")

    @celery.on_after_configure.connect
    def setup_periodic_tasks(sender, **kwargs):
        from discovered.users.tasks import tick

        sender.add_periodic_task(1.0, tick.s("added"), name="added")

    from discovered.users.views import bp

    app.register_blueprint(bp)
    return app
