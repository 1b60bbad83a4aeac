"""Tokens of the HTTP API: made once, stored as a digest, listed, expired, revoked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import ConfigurationError, TokenNotFound
from flask_nightshift.operations import tokens
from flask_nightshift.store import tokens as rows
from flask_nightshift.store.tables import tokens as table
from opsapp import Ops, opened


@pytest.fixture
def ops(tmp_path: Path, database_url: str) -> Iterator[Ops]:
    with opened(tmp_path, "memory://", NIGHTSHIFT_DATABASE_URL=database_url, TESTING=True) as made:
        yield made


def test_a_token_is_shown_once_and_stored_as_a_digest(ops: Ops) -> None:
    told = ops.run("token", "create", "ci", "--scope", "view,replay", "--scope", "cancel", "--expires", "30d")
    assert told.exit_code == 0, told.output
    text = told.stdout.strip()
    assert rows.FORMAT.fullmatch(text)
    assert "view, replay, cancel until" in told.stderr
    with ops.services.store.read() as connection:
        (row,) = connection.execute(select(table)).mappings()
    secret = text.rpartition("_")[2]
    assert secret not in str(dict(row))
    assert timedelta(days=29) < row["expires_at"] - utcnow() <= timedelta(days=30)
    (listed,) = ops.json("token", "list")
    assert listed["scopes"] == ["view", "replay", "cancel"]
    assert listed["state"] == "active"
    assert secret not in ops.ok("token", "list")


def test_the_bearer_is_known_and_its_last_use_is_noted(ops: Ops) -> None:
    made = tokens.create(ops.services, "ci", ["view"], by="me")
    found = tokens.bearer(ops.services, made.text)
    assert found is not None
    assert found[1].name == "token ci"
    assert found[1].permissions == {"view"}
    (seen,) = tokens.listed(ops.services)
    assert seen.used_at is not None
    tokens.bearer(ops.services, made.text)
    assert tokens.listed(ops.services)[0].used_at == seen.used_at  # at most once a minute
    wrong = made.text[:-1] + ("0" if made.text[-1] != "0" else "1")
    for text in (wrong, "", "nst_", made.text.upper(), made.text + "\n", f" {made.text}", made.token.id):
        assert tokens.bearer(ops.services, text) is None, text


def test_an_expired_and_a_revoked_token_are_worth_nothing(ops: Ops) -> None:
    first, second = (tokens.create(ops.services, name, ["view"], by="me") for name in ("first", "second"))
    set_times(ops, first, expires_at=utcnow() - timedelta(seconds=1))
    assert tokens.bearer(ops.services, first.text) is None
    assert ops.ok("token", "revoke", "second") == "second: revoked\n"
    assert tokens.bearer(ops.services, second.text) is None
    assert {each["name"]: each["state"] for each in ops.json("token", "list")} == {
        "first": "expired",
        "second": "revoked",
    }
    with pytest.raises(TokenNotFound, match="'second'"):
        tokens.revoke(ops.services, ["first", "second"], by="me")
    assert {each["name"]: each["state"] for each in ops.json("token", "list")}["first"] == "expired"
    set_times(ops, second, revoked_at=utcnow() - timedelta(days=91))
    tokens.create(ops.services, "second", ["view"], by="me")  # its name is free, and the old row goes
    assert [each["state"] for each in ops.json("token", "list") if each["name"] == "second"] == ["active"]


def set_times(ops: Ops, made: tokens.Created, **times: Any) -> None:
    with ops.services.store.begin() as connection:
        connection.execute(update(table).where(table.c.id == made.token.id).values(**times))


def test_wrong_input_is_refused_by_name(ops: Ops) -> None:
    tokens.create(ops.services, "ci", ["view"], by="me")
    for name, scopes, expires, said in (
        ("ci", ["view"], None, "a token of that name exists"),
        ("", ["view"], None, "1 to 100"),
        ("a\nb", ["view"], None, "printable"),
        ("x", ["viev"], None, "'viev'"),
        ("x", [], None, "one or more"),
        ("x", ["view"], utcnow(), "still to come"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            tokens.create(ops.services, name, scopes, expires_at=expires, by="me")
    refused = ops.run("token", "create", "y", "--scope", "all")
    assert refused.exit_code == 1
    assert "view_args" in refused.stderr
    assert ops.run("token", "create", "y", "--scope", "view", "--expires", "9999999999d").exit_code == 2
    assert len(tokens.listed(ops.services)) == 1


def test_a_scope_of_another_version_allows_nothing(ops: Ops) -> None:
    made = tokens.create(ops.services, "ci", ["view"], by="me")
    set_times(ops, made, scopes=["view", "fly"])
    found = tokens.bearer(ops.services, made.text)
    assert found is not None
    assert found[1].permissions == {"view"}
