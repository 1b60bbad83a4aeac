"""A database that refuses: the errors of ``migrate`` and the doctor name what is missing, and who must act."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from flask_nightshift import journal
from flask_nightshift.config import settings as config
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import DatabaseUnavailable
from flask_nightshift.store import Store, tables
from opsapp import opened
from servers import Postgres, Valkey

FULL = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"


class Owner:
    """A database with an owner and a role that has only the rights it is given."""

    def __init__(self, postgres: Postgres) -> None:
        self.url = postgres.fresh_url()
        self.store = Store(self.url)
        self.role = f"weak_{self.url.rpartition('/')[2]}"
        self.sql(f"CREATE ROLE {self.role} LOGIN")
        self.weak = self.url.replace("//shop:s3cret-postgres@", f"//{self.role}@")

    def sql(self, statement: str) -> None:
        with self.store.begin() as connection:
            connection.execute(text(statement))


@pytest.fixture
def owner(postgres: Postgres) -> Iterator[Owner]:
    made = Owner(postgres)
    yield made
    made.store.close()


def findings(valkey: Valkey, folder: Path, url: str) -> dict[str, dict[str, Any]]:
    with opened(folder, valkey.fresh_url(), migrate=False, NIGHTSHIFT_DATABASE_URL=url) as ops:
        found = json.loads(ops.run("doctor", "--json").stdout)
    return {one["check"]: one for one in found if one["level"] in ("error", "warning")}


@pytest.mark.postgres
def test_migrate_without_rights_says_which_role_to_use(owner: Owner) -> None:
    weak = Store(owner.weak)
    with pytest.raises(DatabaseUnavailable, match=r"permission denied .* with a role that may make"):
        weak.migrate()
    weak.close()


@pytest.mark.postgres
def test_the_doctor_names_tables_without_rights(owner: Owner, valkey: Valkey, tmp_path: Path) -> None:
    owner.store.migrate()
    owner.sql(f"GRANT {FULL} TO {owner.role}")
    assert "rights" not in findings(valkey, tmp_path, owner.weak)
    owner.sql(f"REVOKE ALL ON nightshift_refused FROM {owner.role}")  # as a table is that a migration made
    owner.sql(f"REVOKE DELETE ON nightshift_totals FROM {owner.role}")
    found = findings(valkey, tmp_path, owner.weak)["rights"]
    assert found["level"] == "error"
    assert "nightshift_refused, nightshift_totals" in found["message"]
    assert "GRANT SELECT, INSERT, UPDATE, DELETE" in found["remedy"]
    owner.sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {owner.role}")
    found = findings(valkey, tmp_path, owner.weak)["migrations"]
    assert "permission denied" in found["message"]
    assert "flask jobs migrate" not in found["remedy"]


@pytest.mark.postgres
def test_the_doctor_finds_a_database_that_only_reads(owner: Owner, valkey: Valkey, tmp_path: Path) -> None:
    owner.store.migrate()
    database = owner.url.rpartition("/")[2]
    owner.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    assert "read-only" in findings(valkey, tmp_path, owner.url)["database"]["message"]


@pytest.mark.postgres
def test_history_goes_on_when_the_database_takes_writes_again(owner: Owner) -> None:
    """A managed database may only read for a while; sessions keep what they began with."""
    owner.store.migrate()
    database = owner.url.rpartition("/")[2]
    owner.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    used = Store(owner.url)
    with pytest.raises(DatabaseUnavailable, match="read-only"), used.begin() as connection:
        connection.execute(text("DELETE FROM nightshift_jobs"))
    owner.sql(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    with used.begin() as connection:
        connection.execute(text("DELETE FROM nightshift_jobs"))
    used.close()


def test_the_doctor_finds_a_sqlite_file_that_is_locked(valkey: Valkey, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    store = Store(url)
    store.migrate()
    with store.begin():
        found = findings(valkey, tmp_path, url)["database"]
    assert "database is locked" in found["message"]
    assert "database" not in findings(valkey, tmp_path, url)
    store.close()


def test_the_doctor_finds_a_harmful_migration_while_the_database_is_down(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "drops.py").write_text("op.drop_table('nightshift_dead_letters')")
    found = findings(valkey, tmp_path, "postgresql://shop@127.0.0.1:1/shop")
    assert "drops nightshift_dead_letters" in found["app migrations"]["message"]


@pytest.mark.postgres
def test_a_table_without_rights_does_not_keep_the_others_from_being_pruned(owner: Owner) -> None:
    from flask import Flask

    owner.store.migrate()
    owner.sql(f"GRANT {FULL} TO {owner.role}")
    owner.sql(f"REVOKE ALL ON nightshift_refused FROM {owner.role}")
    long_ago = utcnow() - timedelta(days=9)
    with owner.store.begin() as connection:
        connection.execute(insert(tables.journals).values(id="old", worker="w", batch=1, written_at=long_ago))
    weak = Store(owner.weak)
    with pytest.raises(DatabaseUnavailable, match="nightshift_refused"):
        journal.prune(weak, config.load(Flask("shop")), utcnow())
    weak.close()
    with owner.store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM nightshift_journals")).scalar_one() == 0
