"""Dead letters as incidents on both databases: counted, with a trend and an example."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from flask_nightshift.dead_letters import Filters, Status, list_letters
from flask_nightshift.dead_letters import letters as rows
from flask_nightshift.domain.fingerprint import cause
from flask_nightshift.domain.job import DeadLetter, Failure, Reason
from flask_nightshift.errors import DeadLetterNotFound
from flask_nightshift.observe import incidents as read
from flask_nightshift.observe.incidents import DAY, HOUR, Wanted
from flask_nightshift.store import Store, causes, tables
from opsapp import Ops, opened
from servers import Valkey

NOW = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
BEGIN = "Traceback (most recent call last):\n"
TRACE = BEGIN + '  File "/srv/{}/shop/mail.py", line {}, in send\n    connect()\nOSError: {}\n'


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    sqlite = request.param == "sqlite"
    made = Store(
        f"sqlite:///{tmp_path}/db.sqlite3" if sqlite else request.getfixturevalue("postgres").fresh_url()
    )
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def services(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(read, "utcnow", lambda: NOW)
    return SimpleNamespace(store=store)


def letter(
    number: int, died: timedelta, *, task: str = "mail.send", error: str = "OSError", **more: Any
) -> Any:
    """The row of a letter of a job that died ``died`` ago."""
    failure = Failure(error, f"refused {number}", TRACE.format(f"release-{number}", number, number))
    made = DeadLetter(
        f"letter-{number}", Reason.EXHAUSTED, NOW - died, "mail", f"job-{number}", task, failure,
        b"[[], {}, {}]", "application/json", "utf-8", {"id": f"job-{number}"}, {},
    )  # fmt: skip
    return {**rows.row(made), **more}


def add(store: Store, *letters: Any) -> None:
    with store.begin() as connection:
        connection.execute(tables.dead_letters.insert(), list(letters))


def test_letters_of_one_cause_are_an_incident(services: Any) -> None:
    mail = [letter(number, timedelta(hours=number)) for number in range(5)]
    mail[1] |= {"status": "replayed"}
    mail[4] |= {"status": "discarded"}
    add(services.store, *mail, letter(50, timedelta(days=2), task="crm.push", error="KeyError"))
    found = read.incidents(services)
    assert (found.total, found.waiting) == (2, 4)
    first, second = found.found
    assert (first.task, first.error, first.place) == ("mail.send", "OSError", "shop/mail.py:send")
    assert first.counts == {"waiting": 3, "replaying": 0, "replayed": 1, "discarded": 1}
    assert (first.first_at, first.last_at) == (NOW - timedelta(hours=4), NOW)
    assert (first.example, first.job_id, first.message) == ("letter-0", "job-0", "refused 0")
    assert first.trend.counts[-6:] == (0, 1, 1, 1, 1, 1)
    assert first.trend.start == datetime(2026, 11, 26, 13, tzinfo=UTC)
    assert (second.task, sum(second.trend.counts)) == ("crm.push", 0)
    days = read.incidents(services, step=DAY).found[1].trend
    assert (days.counts[-3:], len(days.counts)) == ((1, 0, 0), 14)


def test_incidents_are_filtered_and_sorted(services: Any) -> None:
    add(
        services.store,
        *(letter(number, timedelta(hours=2), task="crm.push") for number in range(3)),
        letter(10, timedelta(hours=1)),
        letter(20, timedelta(minutes=1), task="old", status="replayed"),
    )

    def tasks(**wanted: Any) -> list[str | None]:
        return [each.task for each in read.incidents(services, Wanted(**wanted)).found]

    assert tasks() == ["mail.send", "crm.push"]
    assert tasks(by_count=True) == ["crm.push", "mail.send"]
    assert tasks(open=False) == ["old", "mail.send", "crm.push"]
    assert tasks(task="crm.push") == ["crm.push"]
    assert tasks(reason="expired") == []
    assert tasks(since=NOW - timedelta(minutes=90)) == ["mail.send"]
    assert read.incidents(services, limit=1).total == 2
    known = read.incidents(services).found[0].fingerprint
    assert read.incident(services, known).task == "mail.send"
    with pytest.raises(DeadLetterNotFound, match="nonsense"):
        read.incident(services, "nonsense")


def test_an_example_waits_if_any_letter_does_and_no_letters_are_no_incident(services: Any) -> None:
    assert read.incidents(services).found == ()
    add(services.store, letter(1, timedelta(hours=1)), letter(2, timedelta(0), status="replayed"))
    assert read.incidents(services).found[0].example == "letter-1"


def test_letters_of_an_older_version_get_their_cause(store: Store) -> None:
    add(
        store,
        *(letter(number, timedelta(0), fingerprint="0ld", place=None) for number in range(causes.CHUNK + 5)),
    )
    assert store.migrate() == []
    with store.read() as connection:
        column = tables.dead_letters.c
        found = connection.execute(select(column.fingerprint, column.place).distinct()).all()
    expected = cause("exhausted", "mail.send", "OSError", TRACE.format("release-1", 1, 1))
    assert [tuple(row) for row in found] == [tuple(expected)]
    with store.begin() as connection:
        connection.execute(update(tables.dead_letters).values(place=None))
    assert causes.fill(store.read, store.begin, since=NOW + timedelta(days=1)) == 0
    assert causes.fill(store.read, store.begin, since=NOW - timedelta(days=1)) == causes.CHUNK + 5


def test_indexes_alone_count_them(services: Any) -> None:
    """Reading the letters themselves would take seconds for 100,000."""
    chance = random.Random(17)
    add(services.store, *(letter(number, timedelta(hours=chance.random() * 40)) for number in range(3000)))
    if services.store.engine.dialect.name == "postgresql":  # as its autovacuum does
        with services.store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE nightshift_dead_letters")
    statements: list[tuple[str, Any]] = []

    @event.listens_for(services.store.engine, "before_cursor_execute")
    def hear(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        statements.append((statement, values))

    [one] = read.incidents(services, step=HOUR).found
    assert read.incident(services, one.fingerprint).total == one.total == 3000
    assert 0 < sum(one.trend.counts) < 3000
    counting = [each for each in statements if "count(*)" in each[0]]
    assert len(counting) == 4, "groups and trends"
    with services.store.begin() as connection:
        on_postgresql = connection.dialect.name == "postgresql"
        for way in ("seqscan", "bitmapscan") if on_postgresql else ():
            connection.execute(text(f"SET LOCAL enable_{way} = off"))
        for statement, values in counting:
            explain = "EXPLAIN " if on_postgresql else "EXPLAIN QUERY PLAN "
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, values))
            scans = [
                line for line in plan.splitlines() if "Scan" in line or "SCAN" in line or "SEARCH" in line
            ]
            assert scans, plan
            assert all("Index Only Scan" in line or "COVERING INDEX" in line for line in scans), plan


@pytest.mark.parametrize("limit", [1, 7, 50])
def test_letters_of_any_status_are_listed_by_task_and_reason_a_page_at_a_time(
    services: Any, limit: int
) -> None:
    chance = random.Random(limit)
    some = [
        letter(
            number,
            timedelta(seconds=chance.randrange(20)),
            status=chance.choice(list(Status)),
            task=chance.choice(["mail.send", "hooks.call"]),
            reason=chance.choice(["exhausted", "expired"]),
        )
        for number in range(60)
    ]
    add(services.store, *some)
    for task, reason in itertools.product((None, "mail.send"), (None, "expired")):
        wanted = Filters(status=None, task=task, reason=reason)
        met = [each for each in some if task in (None, each["task"]) and reason in (None, each["reason"])]
        expected = [
            each["id"] for each in sorted(met, key=lambda each: (-each["at"].timestamp(), each["id"]))
        ]
        found: list[str] = []
        after = None
        while page := list_letters(services.store, wanted, limit, after):
            found += [each.letter.id for each in page]
            after = page[-1].letter.at, page[-1].letter.id
        assert found == expected


class TestCommand:
    @pytest.fixture
    def ops(self, valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
        with opened(tmp_path, valkey.fresh_url()) as made:
            yield made

    def test_incidents_are_shown_replayed_and_discarded(self, ops: Ops) -> None:
        assert "No incidents." in ops.ok("dead", "incidents")
        first, second = ops.bury(task="mail.send"), ops.bury(task="mail.send", text="another text")
        other = ops.bury(task="hooks.call", error="httpx.HTTPStatusError")
        page = ops.ok("dead", "incidents")
        assert all(len(line) <= 80 for line in page.splitlines())
        hooks, mail = ops.json("dead", "incidents")
        assert (mail["task"], mail["waiting"], mail["job_id"]) == ("mail.send", 2, second)
        assert mail["fingerprint"] in page
        assert sum(mail["trend"]["counts"]) == 2
        assert [each["task"] for each in ops.json("dead", "incidents", "--task", "hooks.call")] == [
            "hooks.call"
        ]
        assert "No incidents match." in ops.ok("dead", "incidents", "--reason", "expired")
        done = ops.ok("dead", "replay", "--fingerprint", mail["fingerprint"], "--yes")
        assert "2 dead letters replayed" in done
        assert {headers["id"] for headers in ops.waiting()} == {first, second}
        done = ops.ok("dead", "discard", "--fingerprint", hooks["fingerprint"], "--yes")
        assert "1 dead letter discarded" in done
        assert ops.json("dead", "incidents") == []
        every = ops.json("dead", "incidents", "--all", "--by-count", "--days")
        assert [(each["task"], each["replayed"], each["discarded"]) for each in every] == [
            ("hooks.call", 0, 1), ("mail.send", 2, 0)
        ]  # fmt: skip
        assert other == hooks["job_id"]

    def test_an_unknown_fingerprint_is_refused(self, ops: Ops) -> None:
        ops.bury()
        for words in (("list",), ("replay", "--yes"), ("discard", "--yes")):
            done = ops.run("dead", words[0], "--fingerprint", "0ld", *words[1:])
            assert done.exit_code == 1
            assert "no dead letter has the fingerprint '0ld'" in done.stderr
