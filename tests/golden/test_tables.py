"""The tables that ``flask jobs migrate`` creates do not change, on each kind of database."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import psycopg
import pytest

from servers import Postgres

from .app import create_app, jobs
from .commands import group
from .conftest import Golden

_ON_POSTGRES = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position""",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'u', 'f', 'c') ORDER BY 1, 2""",
    "versions": "SELECT version_num FROM nightshift_alembic_version",
}


def migrate(folder: Path, url: str) -> None:
    app = create_app(INSTANCE=str(folder), NIGHTSHIFT_DATABASE_URL=url)
    done = app.test_cli_runner().invoke(group(), ["migrate"])
    assert done.exit_code == 0, done.output
    jobs.close(app)


def test_on_sqlite(tmp_path: Path, golden: Golden) -> None:
    migrate(tmp_path, f"sqlite:///{tmp_path}/history.sqlite3")
    with sqlite3.connect(tmp_path / "history.sqlite3") as connection:
        made = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master ORDER BY name") if sql]
        (version,) = connection.execute("SELECT version_num FROM nightshift_alembic_version").fetchone()
    golden({"tables/sqlite.sql": re.sub(" +\n", "\n", ";\n\n".join([*made, f"-- version {version}"]))})


@pytest.mark.postgres
def test_on_postgresql(tmp_path: Path, postgres: Postgres, golden: Golden) -> None:
    url = postgres.fresh_url()
    migrate(tmp_path, url)
    lines = []
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        for what, query in _ON_POSTGRES.items():
            lines += ["", f"-- {what}"]
            lines += [" ".join(map(str, row)) for row in connection.execute(query)]
    golden({"tables/postgresql.txt": "\n".join(lines[1:])})
