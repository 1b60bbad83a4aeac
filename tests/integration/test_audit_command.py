"""The audit: every command that changes something writes a row, and a database that is away stops none of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bulks import warm
from flask_nightshift.domain.actor import Actor
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable, InvalidKey
from flask_nightshift.observe import audit as actions
from flask_nightshift.operations import audit, queues
from flask_nightshift.operations.pauses import operator
from flask_nightshift.store.tables import MAX_TARGET
from flask_nightshift.store.tables import audit as table
from opsapp import Ops, opened, opened_on
from servers import free_port


@pytest.fixture(params=["valkey", "rabbitmq"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    with opened_on(request, tmp_path) as made:
        warm(made)
        yield made


def told(ops: Ops, *words: str) -> dict[str, Any]:
    """The latest action in the audit."""
    found: dict[str, Any] = ops.json("audit", "--limit", "1", *words)["actions"][0]
    return found


def test_every_command_that_changes_something_is_recorded(ops: Ops) -> None:
    ops.send.delay(1)
    ops.services.journal.flush(5)
    dead = ops.letter(ops.bury())["id"]

    def done(action: str, target: str, count: int, *words: str) -> None:
        run = ops.run(*words)
        assert run.exit_code == 0, run.output
        row = told(ops)
        assert (row["action"], row["target"], row["count"]) == (action, target, count)
        assert (row["by"], row["outcome"], row["error"]) == (operator(), "done", None)
        assert row["why"] == ("because" if "because" in words else None)

    why = ("--why", "because")
    done("pause", "queue mail", 1, "pause", "mail", "--reason", "because")
    done("resume", "queue mail", 1, "resume", "mail", *why)
    done("purge", "queue mail", 1, "purge", "mail", "--yes", *why)
    ops.send.delay(2)
    ops.services.journal.flush(5)
    done("cancel", "jobs with task=mail.send", 1, "cancel", "--task", "mail.send", "--yes", *why)
    done(
        "discard",
        "dead letters with task=mail.send",
        1,
        "dead",
        "discard",
        "--task",
        "mail.send",
        "--yes",
        *why,
    )
    done("replay", f"dead letter {dead}", 1, "dead", "replay", dead, "--force", *why)
    done("recover", "durable jobs", 0, "recover", "--yes")
    done("create", "token ci (view)", 1, "token", "create", "ci", "--scope", "view", *why)
    done("revoke", "token ci", 1, "token", "revoke", "ci", *why)
    before = len(ops.json("audit")["actions"])
    for words in (
        ("dead", "replay", "--all", "--dry-run"),
        ("recover", "--dry-run"),
        ("stats",),
        ("cancel", "--queue", "x", "--yes"),
    ):
        ops.ok(*words)
    assert len(ops.json("audit")["actions"]) == before


def test_an_action_that_failed_is_told_as_failed(ops: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ops.run("locks", "release", "no.such")
    assert missing.exit_code == 1
    assert (told(ops)["count"], told(ops)["outcome"]) == (0, "done")

    def away(*_: Any) -> int:
        raise BrokerUnavailable("redis://:secret@host is away")

    monkeypatch.setattr(ops.services.broker, "purge", away)
    assert ops.run("purge", "mail", "--yes").exit_code == 1
    row = told(ops)
    assert (row["action"], row["outcome"], row["count"]) == ("purge", "failed", None)
    assert "is away" in row["error"]
    assert "secret" not in row["error"]
    with pytest.raises(KeyboardInterrupt), audit.acting(ops.services, "run", "x", by=Actor("ann")):
        raise KeyboardInterrupt
    assert (told(ops)["by"], told(ops)["error"]) == ("ann", "interrupted")


def test_an_action_that_never_ended_stays_begun(ops: Ops) -> None:
    with audit.acting(ops.services, "purge", "queue mail", why="x"):
        row = told(ops)
        assert (row["outcome"], row["ended_at"]) == ("begun", None)
    assert told(ops)["outcome"] == "done"
    assert "begun" not in ops.ok("audit")


def test_pages_and_filters(ops: Ops) -> None:
    for number in range(7):
        audit.record(
            ops.services, by="ann" if number % 2 else "bob", action="pause", target=f"queue {number}", count=1
        )
    first = ops.json("audit", "--limit", "3")
    second = ops.json("audit", "--limit", "3", "--after", first["after"])
    third = ops.json("audit", "--limit", "3", "--after", second["after"])
    seen = [row["target"] for page in (first, second, third) for row in page["actions"]]
    assert seen == [f"queue {number}" for number in reversed(range(7))]
    assert third["after"] is None
    assert [row["target"] for row in ops.json("audit", "--by", "ann")["actions"]] == [
        "queue 5",
        "queue 3",
        "queue 1",
    ]
    assert ops.json("audit", "--action", "purge")["actions"] == []
    assert "--after" in ops.ok("audit", "--limit", "3")
    with ops.services.store.begin() as connection:
        connection.execute(
            update(table).where(table.c.target == "queue 2").values(at=utcnow() - timedelta(hours=3))
        )
    assert len(ops.json("audit", "--since", "2h")["actions"]) == 6
    (old,) = ops.json("audit", "--until", "2h")["actions"]
    assert old["target"] == "queue 2"
    assert ops.run("audit", "--since", "1h", "--until", "2h").exit_code == 2
    assert "is not the key of a page" in ops.run("audit", "--after", "nonsense").stderr
    assert actions.actors(ops.services) == ["ann", "bob"]
    with pytest.raises(InvalidKey):
        actions.page(ops.services, after="nonsense")


def test_what_is_stored_is_bounded_and_shown_on_one_line(ops: Ops) -> None:
    long, hostile = "é" * 100_000, "queue a\x1b[31m\nb\0c"
    audit.record(ops.services, by=Actor("x" * 200), action="pause", target=long, why=long, error=long)
    audit.record(ops.services, by="a\0b", action="pause", target=hostile, why="\ud800")
    second, first = ops.json("audit")["actions"]
    assert all(len(first[name].encode()) <= MAX_TARGET for name in ("target", "why", "error"))
    assert first["outcome"] == "failed"
    assert second["target"] == "queue a\x1b[31m\nb\ufffdc"
    shown = ops.ok("audit")
    assert "\x1b" not in shown
    assert len([line for line in shown.splitlines() if "pause" in line]) == 2


def test_no_database_stops_no_action(tmp_path: Path, valkey: Any, caplog: pytest.LogCaptureFixture) -> None:
    url = f"postgresql+psycopg://me@127.0.0.1:{free_port()}/away"
    with opened(tmp_path, valkey.fresh_url(), migrate=False, NIGHTSHIFT_DATABASE_URL=url) as ops:
        with (
            caplog.at_level(logging.INFO),
            audit.acting(ops.services, "purge", "queue mail", by="ann") as acted,
        ):
            acted.acted_on(queues.purge(ops.services, "mail"))
        said = [
            record.getMessage() for record in caplog.records if "audit.not_recorded" in record.getMessage()
        ]
        assert len(said) == 2
        assert "by=ann action=purge target=queue mail" in said[0]
        assert "count=0 outcome=done" in said[1]
        assert ops.run("pause", "mail").exit_code == 0  # on Redis the broker holds the orders


def test_an_old_schema_stops_no_action(tmp_path: Path, valkey: Any) -> None:
    with opened(tmp_path, valkey.fresh_url()) as ops:
        with ops.services.store.begin() as connection:
            table.drop(connection)
        assert ops.ok("pause", "mail") == "mail: paused\n"
        failed = ops.run("audit")
        assert failed.exit_code == 1
        assert "flask jobs migrate" in failed.stderr
