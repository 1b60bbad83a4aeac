"""Nightshift leaves the app's routes, database file and driver as they are."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from flask_nightshift import Nightshift
from flask_nightshift.observe.doctor import examine

BROKER = "redis://127.0.0.1:1"


def make(folder: Path, **config: Any) -> Flask:
    app = Flask("guest", instance_path=str(folder / "instance"))
    app.config.update(NIGHTSHIFT_BROKER_URL=BROKER, **config)
    return app


class TestRoutes:
    @pytest.mark.parametrize("headers", [{}, {"Host": "127.0.0.1:8000"}, {"Host": "localhost"}])
    def test_strangers_behind_a_bare_proxy_on_this_machine_learn_nothing(
        self, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        app = make(tmp_path)
        Nightshift(app)
        client = app.test_client()
        local = {"headers": headers, "environ_overrides": {"REMOTE_ADDR": "127.0.0.1"}}
        assert client.get("/health/live", **local).status_code == 200
        assert client.get("/health/ready", **local).json == {"status": "unavailable"}
        answer = client.get("/metrics", **local)
        assert answer.status_code == 403
        assert "NIGHTSHIFT_HTTP_TOKEN" in answer.get_json()["message"]

    @pytest.mark.parametrize("first", ["app", "nightshift"])
    def test_the_app_s_own_routes_take_precedence(
        self, tmp_path: Path, first: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = make(tmp_path, NIGHTSHIFT_HTTP_ACCESS="open")

        def routes() -> None:
            app.get("/metrics", endpoint="mine")(lambda: "the app's")
            app.post("/health/ready", endpoint="posted")(lambda: "posted")
            pages = Blueprint("nightshift", __name__)
            pages.get("/night")(lambda: "a page of a blueprint of that name")
            app.register_blueprint(pages)

        with caplog.at_level(logging.WARNING, "flask_nightshift"):
            if first == "app":
                routes()
            Nightshift(app)
            if first == "nightshift":
                routes()
        client = app.test_client()
        assert client.get("/metrics").text == "the app's"
        assert client.head("/metrics").status_code == 200
        assert "parts" in client.get("/health/ready").get_json()
        assert client.post("/health/ready").text == "posted"
        assert client.options("/health/live").status_code == 200
        assert client.post("/health/live").status_code == 405
        assert client.get("/night").status_code == 200
        if first == "app":
            assert ["/metrics" in line for line in caplog.messages] == [True]
        found = [x for x in examine(app.extensions["nightshift"]) if x.check == "http"]
        assert any("/metrics" in x.message and "NIGHTSHIFT_URL_PREFIX" in x.remedy for x in found)

    def test_a_url_prefix_keeps_both_routes(self, tmp_path: Path) -> None:
        app = make(tmp_path, NIGHTSHIFT_HTTP_ACCESS="open", NIGHTSHIFT_URL_PREFIX="/jobs")
        Nightshift(app)
        app.get("/metrics")(lambda: "the app's")
        client = app.test_client()
        assert client.get("/metrics").text == "the app's"
        assert client.get("/jobs/metrics").status_code == 200


class TestSQLite:
    @pytest.mark.parametrize("how", ["default", "named", "bind"])
    def test_the_app_s_own_file_keeps_its_journal(self, tmp_path: Path, how: str) -> None:
        file = tmp_path / "instance" / "app.db"
        apps: dict[str, Any] = {"SQLALCHEMY_DATABASE_URI": "sqlite:///app.db"}
        if how == "named":
            apps["NIGHTSHIFT_DATABASE_URL"] = f"sqlite:///{file}"
        elif how == "bind":
            apps = {
                "SQLALCHEMY_DATABASE_URI": "sqlite:///other.db",
                "SQLALCHEMY_BINDS": {"jobs": {"url": "sqlite:///app.db"}},
                "NIGHTSHIFT_DATABASE_URL": "sqlite:///app.db",
            }
        app = make(tmp_path, **apps)
        database = SQLAlchemy(app)
        jobs = Nightshift(app)
        with app.app_context():
            database.session.execute(text("CREATE TABLE mine (n INTEGER)"))
            jobs.services.store.migrate()
            with jobs.services.store.begin() as connection:
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
            database.session.execute(text("SELECT 1"))
            database.session.rollback()
        jobs.close()
        assert journal_of(file) == "delete"

    def test_a_file_of_our_own_gets_a_write_ahead_log(self, tmp_path: Path) -> None:
        app = make(
            tmp_path, SQLALCHEMY_DATABASE_URI="sqlite:///app.db", NIGHTSHIFT_DATABASE_URL="sqlite:///ours.db"
        )
        jobs = Nightshift(app)
        with app.app_context():
            jobs.services.store.migrate()
        assert journal_of(tmp_path / "instance" / "ours.db") == "wal"


def journal_of(file: Path) -> str:
    with sqlite3.connect(file) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


@pytest.mark.postgres
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_both_drivers_keep_the_history(postgres: Any, valkey: Any, tmp_path: Path, driver: str) -> None:
    url = postgres.fresh_url().replace("+psycopg://", f"+{driver}://")
    app = make(tmp_path, NIGHTSHIFT_DATABASE_URL=url)
    app.config["NIGHTSHIFT_BROKER_URL"] = valkey.fresh_url()
    jobs = Nightshift(app)

    @jobs.task(name="guest.add")
    def add(number: int) -> None:
        """Never runs here."""

    with app.app_context():
        jobs.services.store.migrate()
        assert jobs.services.store.engine.driver == driver
        ids = add.enqueue_many([(number,) for number in range(120)])
        assert jobs.services.journal.flush()
        assert {jobs.job(job_id).state for job_id in ids} == {"queued"}
    jobs.close()
