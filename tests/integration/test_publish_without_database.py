"""A job that keeps its result can be enqueued while the database is down (invariants 7 and 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift
from servers import free_port


def test_delay_does_not_need_the_database(broker: Any, tmp_path: Path) -> None:
    jobs = Nightshift()

    @jobs.task(name="kept", ignore_result=False)
    def kept() -> int:
        return 1

    app = Flask("without_database", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = broker.fresh_url()
    app.config["NIGHTSHIFT_DATABASE_URL"] = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing"
    jobs.init_app(app)
    with app.app_context():
        assert kept.delay().id
        (depth,) = app.extensions["nightshift"].broker.depths(["celery"])
    assert depth.ready == 1
