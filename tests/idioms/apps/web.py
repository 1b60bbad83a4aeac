"""An app that uses its jobs during its creation, as a preloaded app may; children must not share what it opens.

With ``EARLY`` it also enqueues a job then. uWSGI hangs when it forks while a thread runs (docs/how-to/deploy.md), and
the history has a thread.
"""

import os

from flask import Flask, jsonify

from flask_nightshift import Nightshift

jobs = Nightshift()


@jobs.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)
    with app.app_context():
        jobs.services.store.migrate()
        jobs.services.broker.depths(["celery"])
        first = add.delay(0, 0).id if os.environ["EARLY"] else ""

    @app.post("/add")
    def enqueue():
        depth = jobs.services.broker.depths(["celery"])[0].ready
        return jsonify(id=add.delay(1, 2).id, depth=depth, pid=os.getpid()), 202

    @app.get("/state/<job_id>")
    def state(job_id: str):
        return jobs.job(first if job_id == "first" else job_id).state.value

    return app
