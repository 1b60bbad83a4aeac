"""The table of the outbox lies in the history's database and in the app's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, func, select

from flask_nightshift import Nightshift
from flask_nightshift.cli import jobs as jobs_cli
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import DatabaseUnavailable
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.outbox.rows import Row, row_of
from flask_nightshift.outbox.writing import write
from flask_nightshift.store.outbox_rows import erase, present
from flask_nightshift.store.tables import outbox

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database for the app's own tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/app.sqlite3"
    found: str = request.getfixturevalue("postgres").fresh_url()
    return found


def app_with(tmp_path: Path, **config: Any) -> Flask:
    app = Flask("rows", instance_path=str(tmp_path))
    app.config.update(NIGHTSHIFT_BROKER_URL="memory://", TESTING=True, **config)
    Nightshift(app)
    return app


def rows(count: int) -> list[Row]:
    return [
        row_of(Envelope(b"[]", {"id": str(at), "task": "t"}), task="t", queue="mail", due=utcnow())
        for at in range(count)
    ]


def test_migrate_gives_both_databases_the_tables(tmp_path: Path, url: str) -> None:
    app = app_with(
        tmp_path, SQLALCHEMY_DATABASE_URI=url, NIGHTSHIFT_DATABASE_URL=f"sqlite:///{tmp_path}/history.sqlite3"
    )
    done = app.test_cli_runner().invoke(jobs_cli, ["migrate"])
    assert done.exit_code == 0, done.output
    assert done.output.count("applied 0004") == 2
    again = app.test_cli_runner().invoke(jobs_cli, ["migrate"])
    assert again.output.count("is up to date") == 2
    app.extensions["nightshift"].close()


@pytest.mark.parametrize(
    "history",
    ["sqlite:///app.sqlite3", "sqlite:///{folder}/../{name}/app.sqlite3", ""],
)
def test_one_database_is_one(tmp_path: Path, history: str) -> None:
    app = app_with(
        tmp_path,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/app.sqlite3",
        NIGHTSHIFT_DATABASE_URL=history.format(folder=tmp_path, name=tmp_path.name),
    )
    services = app.extensions["nightshift"]
    assert services.outboxes == (services.store,)


@pytest.mark.parametrize("url", ["mysql://u@h/d", "sqlite://", "sqlite:///:memory:", "no url", 7, None])
def test_databases_without_an_outbox(tmp_path: Path, url: Any) -> None:
    app = app_with(tmp_path, SQLALCHEMY_DATABASE_URI=url, NIGHTSHIFT_DATABASE_URL="sqlite:///history.sqlite3")
    services = app.extensions["nightshift"]
    assert services.outboxes == (services.store,)


def test_rows_are_written_read_and_erased(tmp_path: Path, url: str) -> None:
    app = app_with(tmp_path, SQLALCHEMY_DATABASE_URI=url)
    (store,) = app.extensions["nightshift"].outboxes
    store.migrate()
    given = rows(1201)
    engine = create_engine(url)
    with engine.begin() as connection:
        write(connection, given[:1])
        write(connection, given[1:])
    with store.begin() as connection:
        found = connection.execute(select(outbox).order_by(outbox.c.created_at, outbox.c.id)).all()
        assert [Row(*each) for each in found] == given
        assert present(connection, [given[0].id, given[700].id, "no"]) == {given[0].id, given[700].id}
        erase(connection, [row.id for row in given[1:]] + ["gone"])
        assert connection.execute(select(func.count()).select_from(outbox)).scalar() == 1
    engine.dispose()
    store.close()


def test_a_schema_of_the_callers_tables_is_not_ours(tmp_path: Path, url: str) -> None:
    app = app_with(tmp_path, SQLALCHEMY_DATABASE_URI=url)
    (store,) = app.extensions["nightshift"].outboxes
    store.migrate()
    engine = create_engine(url, execution_options={"schema_translate_map": {None: "tenant"}})
    with engine.begin() as connection:
        write(connection, rows(1))
    engine.dispose()
    store.close()


def test_a_database_without_our_tables_says_what_to_do(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection, pytest.raises(DatabaseUnavailable, match="flask jobs migrate"):
        write(connection, rows(1))
    engine.dispose()
