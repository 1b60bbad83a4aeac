"""The app's migrations (Flask-Migrate, Alembic) leave our tables alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from flask_nightshift.store import Store
from flask_nightshift.store import tables as ours
from servers import Valkey

APP = """
    import os
    from flask import Flask
    from flask_migrate import Migrate
    from flask_sqlalchemy import SQLAlchemy
    from flask_nightshift import Nightshift

    app = Flask(__name__, instance_path=os.path.abspath("instance"))
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
    app.config["NIGHTSHIFT_BROKER_URL"] = os.environ["BROKER"]
    db = SQLAlchemy(app)
    Migrate(app, db)
    jobs = Nightshift(app)

    class Shop(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        EXTRA

    class NightshiftRota(db.Model):
        "A table of the app's own that is called as ours are."
        __tablename__ = "nightshift_rota"
        id = db.Column(db.Integer, primary_key=True)
        EXTRA
"""


class App:
    """An app in a folder, with the tables of Nightshift in its database."""

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "DATABASE": database, "BROKER": broker, "FLASK_APP": "app.py"}
        (folder / "instance").mkdir()
        self.models("")
        self.run("flask", "jobs", "migrate")
        self.run("flask", "db", "init")

    def models(self, extra: str) -> None:
        (self.folder / "app.py").write_text(textwrap.dedent(APP).replace("EXTRA", extra))

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def migrate(self) -> str:
        """What the migration that is made now says."""
        before = set(self.versions())
        told = self.run("flask", "db", "migrate")
        assert "nightshift_jobs" not in told
        [made] = set(self.versions()) - before
        return made.read_text()

    def versions(self) -> list[Path]:
        return list((self.folder / "migrations/versions").glob("*.py"))

    def doctor(self) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "flask", "jobs", "doctor", "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        return list(json.loads(done.stdout))


@pytest.fixture
def app(valkey: Valkey, store: Store, tmp_path: Path) -> App:
    (tmp_path / "app").mkdir()
    return App(tmp_path / "app", store._url.render_as_string(hide_password=False), valkey.fresh_url())


def tables(store: Store) -> set[str]:
    with store.read() as connection:
        return set(inspect(connection).get_table_names())


def test_flask_migrate_drops_none_of_our_tables_and_doctor_finds_what_does(app: App, store: Store) -> None:
    before = {name for name in tables(store) if name.startswith("nightshift_")}
    with store.begin() as connection:
        connection.execute(
            text("INSERT INTO nightshift_schedules (name, total_run_count) VALUES ('kept', 7)")
        )
        connection.execute(text("CREATE TABLE celery_taskmeta (id INTEGER)"))  # Celery's results, on RabbitMQ
    first = app.migrate()
    assert "'shop'" in first
    assert "create_table('nightshift_rota'" in first  # the app's own, by its models
    assert "nightshift_jobs" not in first
    assert "celery" not in first
    app.run("flask", "db", "upgrade")
    app.models('name = db.Column(db.String(20)); __table_args__ = (db.Index("IX" + __qualname__, "name"),)')
    second = app.migrate()
    assert second.count("add_column") == 2
    assert "'nightshift_rota'" in second
    assert "drop_table" not in second
    for command in ("upgrade", "downgrade", "upgrade"):
        app.run("flask", "db", command)
    (app.folder / "migrations/versions").joinpath("by_hand.py").write_text(BY_HAND)
    assert before | {"nightshift_rota"} <= tables(store)
    with store.read() as connection:
        assert connection.execute(text("SELECT total_run_count FROM nightshift_schedules")).scalar() == 7
    found = [one for one in app.doctor() if one["check"] == "app migrations"]
    assert [one["level"] for one in found] == ["error"]
    assert "by_hand.py drops nightshift_dead_letters, nightshift_jobs:" in found[0]["message"]


BY_HAND = """
from alembic import op

revision, down_revision = "1", None


def upgrade():
    op.drop_table("nightshift_jobs")
    op.drop_table(table_name="nightshift_dead_letters")
    op.drop_table("something_else")
    op.drop_table("nightshift_rota" + "s")
"""


def test_alembic_by_itself_drops_none_of_our_tables(store: Store) -> None:
    script = """
        import sys
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext
        from sqlalchemy import MetaData, create_engine, text

        with create_engine(sys.argv[1]).begin() as connection:
            connection.execute(text("CREATE TABLE stranger (id INTEGER)"))
            context = MigrationContext.configure(connection, opts={"include_schemas": True})
            for difference in compare_metadata(context, MetaData()):
                print(difference[0], difference[1].name)
        assert "flask_nightshift" not in sys.modules
    """
    url = store._url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), url], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["remove_table stranger", ""]


def test_dropped_tables_are_reported_and_recreated(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(text("DROP TABLE nightshift_dead_letters"))
        connection.execute(text("DROP TABLE nightshift_totals"))
    assert store.missing_tables() == ["nightshift_dead_letters", "nightshift_totals"]
    store.migrate()
    assert store.missing_tables() == []
    assert set(ours.metadata.tables) <= tables(store)
