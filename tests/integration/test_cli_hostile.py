"""The commands with hostile input: from operators, from jobs, and from a machine that refuses something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.dead_letters import Archiver
from flask_nightshift.domain.events import JobEnqueued, JobSucceeded
from flask_nightshift.domain.job import Failure, JobRef, Outcome, Reason, utcnow
from flask_nightshift.enqueue.ids import new_ids
from flask_nightshift.message import burial
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.observe import overview as inspector
from opsapp import Ops, opened
from servers import Postgres, Valkey

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e[red]bold[/] :skull:\nstatus       replayed\r\udc80\x00"
REASON = Reason.EXHAUSTED


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path, database_url: str) -> Iterator[Ops]:
    """The app, on each kind of database."""
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_DATABASE_URL=database_url) as made:
        yield made


@pytest.fixture
def ops_lite(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def refused(ops: Ops, *words: str) -> str:
    """What a command that fails says, in one line and without a traceback."""
    done = ops.run(*words)
    assert isinstance(done.exception, SystemExit), f"{words}: {done.exception!r}"
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.output
    return done.stderr


def test_hostile_text_in_a_job_drives_no_terminal_and_forges_no_field(ops: Ops) -> None:
    job = ops.bury(task=f"mail{HOSTILE}", error=f"shop.{HOSTILE}", text=HOSTILE)
    ref = JobRef(f"hostile{HOSTILE}", f"mail{HOSTILE}", f"mail{HOSTILE}", 1, HOSTILE, utcnow())
    ops.services.events.emit(JobEnqueued(ref, utcnow(), HOSTILE, HOSTILE))
    ops.flush()
    ops.worker_seen(f"worker{HOSTILE}@one", queues=[HOSTILE])
    ops.services.broker.publish(ops.message(HOSTILE, task=HOSTILE), "mail", due=utcnow() + timedelta(hours=1))
    pages = [ops.ok("dead", "list"), ops.ok("dead", "show", job), ops.ok("stats"), ops.ok("delayed", "list")]
    pages += [ops.ok("show", "hostile"), ops.run("doctor").output, ops.run("health").output]
    for page in pages:
        assert not set(page) & set("\x1b\x07\x9b\u202e\r\udc80\x00")
        assert "status       replayed" not in page.splitlines()
    assert "[red]bold[/] :skull:" in pages[1]
    for words in (["dead", "list"], ["dead", "show", job], ["stats"], ["show", "hostile"]):
        done = ops.ok(*words, "--json")
        assert not set(done) & set("\x1b\x07\x9b\u202e\r\udc80\x00")
        json.loads(done)


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"])
def test_lone_surrogates_come_through_every_command(
    broker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Python makes them of a file name that is not UTF-8."""
    with opened(tmp_path, request.getfixturevalue(broker).fresh_url()) as ops:
        name = "caf\udce9.txt"
        job = ops.bury(text=f"no such file: {name}" if broker == "valkey" else "no such file")
        assert "no such file" in ops.ok("dead", "show", job)
        ops.json("dead", "list")
        assert "no dead letter" in refused(ops, "dead", "show", name)
        assert "there is no job" in refused(ops, "show", name)


@pytest.mark.parametrize(
    "words",
    [
        ["dead", "list", "--since", "99999999999d"],
        ["dead", "list", "--since", "9" * 400 + "d"],
        ["dead", "list", "--since", "0001-01-01T00:00+14:00"],
        ["dead", "list", "--since", "9999-12-31T23:59-14:00"],
        ["dead", "list", "--limit", "99999999999999999999"],
        ["dead", "replay", "--all", "--yes", "--rate", "0.0000000000000001"],
        ["dead", "replay", "--all", "--yes", "--rate", "9" * 400],
        ["dead", "replay", "--all", "--yes", "--queue", "no such name"],
        ["dead", "replay", "", "--yes"],
        ["dead", "replay", " ", "--yes"],
        ["dead", "discard", "", "--yes"],
        ["dead", "show", HOSTILE.replace("\x00", "")],
        ["dead", "show", "x" * 9000],
        ["show", ""],
        ["show", "%"],
        ["show", "_" * 36],
        ["show", "x" * 9000],
        ["delayed", "cancel", "", "--yes"],
        ["delayed", "cancel", "*", "--yes"],
        ["delayed", "run-now", "[a-z]*"],
        ["stats", "--watch", "--interval", "nan"],
        ["health", "--timeout", "nan"],
    ],
    ids=lambda words: " ".join(words)[:30].replace("\x1b", ""),
)
def test_nonsense_is_refused_in_one_line(ops: Ops, words: list[str]) -> None:
    ops.bury()
    ops.services.broker.publish(ops.message("1"), "mail", due=utcnow() + timedelta(hours=1))
    assert len(refused(ops, *words)) < 600
    assert ops.services.broker.depths(["mail"])[0].ready == 0
    assert len(ops.json("dead", "list")) == 1


def test_a_port_that_is_no_number_is_refused(ops_lite: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    assert "'http' is not a valid integer" in refused(ops_lite, "up")


def test_the_error_for_a_folder_that_cannot_be_created_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    with opened(tmp_path, "embedded://", migrate=False) as ops:
        (tmp_path / "instance").rmdir()
        (tmp_path / "instance").write_text("no folder")
        for words in (["migrate"], ["up"], ["broker"]):
            said = refused(ops, *words)
            assert "instance" in said
            assert "NIGHTSHIFT_" in said


def test_the_error_for_a_role_that_may_not_create_tables_is_one_line(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.fresh_url()
    with postgres._connect() as connection:
        connection.execute("drop role if exists reader")
        connection.execute("create role reader login")
    config = {"NIGHTSHIFT_DATABASE_URL": url.replace("shop:s3cret-postgres", "reader")}
    with opened(tmp_path, "redis://127.0.0.1:1/0", migrate=False, **config) as ops:
        for words in (["migrate"], ["up"]):
            assert "permission denied" in refused(ops, *words)


def test_hidden_arguments_stay_hidden(ops_lite: Ops) -> None:
    ops = ops_lite
    secrets: dict[str, dict[str, Any]] = {
        "hidden": {"argsrepr": "(<hidden>)", "kwargsrepr": "{<hidden>}"},
        "dots": {"argsrepr": "..."},
    }
    jobs = {}
    for name, options in secrets.items():
        slow: dict[str, Any] = {"link": ops.send.s()} if name == "dots" else {}
        jobs[name] = ops.send.apply_async((424242,), queue="mail", **options, **slow).id
    ops.flush()
    for job in jobs.values():
        assert "424242" not in ops.ok("show", job) + json.dumps(ops.json("show", job))
    for job in jobs.values():
        bury_with_headers(ops, job)
        for page in (
            ops.ok("dead", "show", job),
            ops.ok("dead", "show", job, "--json"),
            ops.ok("dead", "list", "--json"),
        ):
            assert "424242" not in page
    assert "(<hidden>)" in ops.ok("dead", "show", jobs["hidden"])
    assert ops.letter(ops.bury())["args"] == "[7]", "what nobody hides is shown"


def bury_with_headers(ops: Ops, job: str) -> None:
    """The job as it was published dies."""
    found = next(headers for headers in ops.waiting() if headers["id"] == job)
    headers = burial.buried(
        found,
        reason=REASON,
        failure=Failure("OSError", "x"),
        queue="mail",
        worker="w",
        at=utcnow(),
    )
    ops.services.broker.publish(Envelope(b"[[424242], {}, {}]", headers), DEAD_QUEUE)
    Archiver(ops.services.broker, ops.services.store).run_once()


def test_ids_of_one_minute_differ_in_their_ends(ops: Ops) -> None:
    ids = new_ids(3)
    for id_ in ids:
        ref = JobRef(id_, "mail.send", "mail", 1, None, utcnow())
        ops.services.events.emit(JobEnqueued(ref, utcnow(), "()", "{}"))
        ops.services.broker.publish(ops.message(id_), "mail", due=utcnow() + timedelta(hours=1))
    ops.flush()
    assert ids[0] in ops.ok("show", ids[0][-8:])
    assert ids[0] in ops.ok("show", ids[0][:30])
    assert "not enough" in refused(ops, "show", ids[0][:8])
    assert "not enough" in refused(ops, "show", ids[0][-2:])
    assert "not enough" in refused(ops, "delayed", "run-now", ids[0][:8])
    ops.ok("delayed", "run-now", ids[0][-8:])
    ops.ok("delayed", "cancel", "--yes", ids[1][-8:], ids[2])
    assert ops.json("delayed", "list") == []
    assert ops.services.broker.depths(["mail"])[0].ready == 1

    letters = [ops.letter(ops.bury()) for _ in range(2)]
    page = ops.ok("dead", "list")
    for letter in letters:
        assert letter["id"][-8:] in page
        assert letter["fingerprint"] in page
        for part in (letter["id"][-8:], letter["id"][:8], letter["job_id"][-8:], letter["job_id"][:13]):
            assert letter["id"] in ops.ok("dead", "show", part)
    ops.ok("dead", "discard", "--yes", letters[0]["job_id"][-8:])
    ops.ok("dead", "replay", letters[1]["id"][-8:])
    assert ops.services.broker.depths(["mail"])[0].ready == 2


def test_show_says_how_many_attempts_there_may_be(ops_lite: Ops) -> None:
    ops = ops_lite

    @ops.jobs.task(name="mail.for_ever", max_retries=None)
    def for_ever() -> None:
        """Never runs here."""

    said = {}
    for task in ("mail.send", "mail.for_ever", "mail.elsewhere"):
        ref = JobRef(new_ids(1)[0], task, "mail", 1, None, utcnow())
        ops.services.events.emit(JobSucceeded(ref, utcnow(), "worker@one", 0.1))
        ops.flush()
        line = next(line for line in ops.ok("show", ref.job_id).splitlines() if line.startswith("attempts"))
        said[task] = line.removeprefix("attempts").strip()
    assert said == {
        "mail.send": "1 of 6", "mail.for_ever": "1, retries without limit", "mail.elsewhere": "1"}  # fmt: skip


def test_the_wait_of_a_replayed_job_counts_from_its_replay(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url()) as ops:
        job = ops.bury(enqueued=timedelta(hours=3))
        ops.ok("dead", "replay", job)
        (queue,) = [depth for depth in ops.json("stats")["queues"] if depth["queue"] == "mail"]
        assert 0 <= queue["oldest_seconds"] < 60


def test_the_last_five_minutes_are_five(ops_lite: Ops, monkeypatch: pytest.MonkeyPatch) -> None:
    ops = ops_lite
    now = utcnow().replace(second=30, microsecond=0)
    for minutes in (0, 2, 4, 5, 6):  # five minutes before begins in the middle of a minute: half of it counts
        for _ in range(10):
            ref = JobRef(new_ids(1)[0], "mail.send", "mail", 1, None, now)
            ops.services.events.emit(JobSucceeded(ref, now - timedelta(minutes=minutes), "worker@one", 0.1))
    ops.flush()
    monkeypatch.setattr(inspector, "utcnow", lambda: now)
    found = inspector.overview(ops.services).throughput.value
    assert (found.minutes, found.counts[Outcome.SUCCEEDED]) == (5, 35)
    assert "Last 5 min" in ops.ok("stats")
