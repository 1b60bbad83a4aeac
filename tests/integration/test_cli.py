"""The operator's commands on real brokers: their effects, their output, their errors."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.domain.job import Reason, utcnow
from flask_nightshift.message.burial import DEAD_QUEUE
from opsapp import Ops, opened
from servers import Postgres, Valkey


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def ready(ops: Ops, queue: str = "mail") -> int:
    return ops.services.broker.depths([queue])[0].ready


# dead letters


def test_dead_letters_are_listed_and_filtered(ops: Ops) -> None:
    first = ops.bury(task="mail.send", reason=Reason.EXHAUSTED)
    second = ops.bury(
        task="hooks.call", reason=Reason.PERMANENT, error="httpx.HTTPStatusError", text="410 Gone"
    )
    every = ops.json("dead", "list")
    assert [letter["job_id"] for letter in every] == [second, first]
    assert {*every[0]} >= {"id", "job_id", "task", "queue", "reason", "error", "message", "traceback", "fingerprint",
                           "at", "status", "args", "kwargs", "attempts"}  # fmt: skip

    def ids(*words: str) -> list[str]:
        return [letter["job_id"] for letter in ops.json("dead", "list", *words)]

    assert ids("--task", "hooks.call") == [second]
    assert ids("--reason", "exhausted") == [first]
    assert ids("--fingerprint", ops.letter(first)["fingerprint"]) == [first]
    assert ids("--since", "1h") == [second, first]
    assert ids("--since", (utcnow() + timedelta(minutes=1)).isoformat()) == []
    assert ids("--limit", "1") == [second]
    assert ids("--status", "replayed") == []


def test_the_list_fits_80_columns(ops: Ops) -> None:
    ops.bury(
        task="a.task.with.a.name.that.is.long.enough.for.two",
        error="package.module.SomeLongError",
        text="x" * 300,
    )
    page = ops.ok("dead", "list")
    assert all(len(line) <= 80 for line in page.splitlines())
    row = next(line for line in page.splitlines() if "exhausted" in line)
    assert ops.json("dead", "list")[0]["id"][-8:] in row
    assert "a.task" in row
    assert "SomeLongError" in row
    assert "The latest 1 of 2" in (ops.bury(), ops.ok("dead", "list", "--limit", "1"))[1]


def test_a_list_without_letters_says_so_and_tells_of_unarchived_ones(ops: Ops) -> None:
    assert "No dead letters." in ops.ok("dead", "list")
    ops.bury(archive=False)
    done = ops.run("dead", "list")
    assert "No dead letters." in done.stdout
    assert "1 more in the broker" in done.stderr


def test_one_letter_is_shown_whole_by_a_part_of_its_id(ops: Ops) -> None:
    letter = ops.letter(ops.bury(text="connection refused by mail.example"))
    for given in (letter["id"], letter["id"][:8], letter["job_id"]):
        page = ops.ok("dead", "show", given)
        for part in (letter["id"], letter["job_id"], "exhausted", "connection refused by mail.example", "[7]",
                     'File "shop.py", line 3, in send', "worker@one"):  # fmt: skip
            assert part in page
    assert ops.json("dead", "show", letter["id"][:8]) == letter


def test_an_id_that_fits_several_letters_or_none_is_refused(ops: Ops) -> None:
    ops.bury()
    ops.bury()
    for given, says in (("", "not enough"), ("zzz", "no dead letter 'zzz'"), ("%", "no dead letter '%'")):
        done = ops.run("dead", "show", given)
        assert done.exit_code == 1
        assert says in done.stderr
        assert "Traceback" not in done.output


def test_escape_sequences_of_a_job_do_not_reach_the_terminal(ops: Ops) -> None:
    ops.bury(text="\x1b[2J\x1b]0;owned\x07 \r overwritten")
    for words in (["dead", "list"], ["dead", "show", ops.json("dead", "list")[0]["id"]]):
        page = ops.ok(*words)
        assert "\x1b" not in page
        assert "\x07" not in page
        assert "\\x1b[2J" in page


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"])
def test_a_replay_puts_the_job_back_under_its_id(
    broker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with opened(tmp_path, request.getfixturevalue(broker).fresh_url()) as ops:
        job_id = ops.bury()
        letter = ops.letter(job_id)
        assert "1 dead letter replayed" in ops.ok("dead", "replay", letter["id"][:8])
        assert ready(ops) == 1
        assert ops.letter(job_id)["status"] == "replayed"
        assert ops.json("show", job_id)["state"] == "queued"
        again = ops.run("dead", "replay", letter["id"])
        assert again.exit_code == 1
        assert "already replayed" in again.stderr
        assert ready(ops) == 1


def test_replays_by_filter_ask_and_obey_limit_and_rate(ops: Ops) -> None:
    for _ in range(4):
        ops.bury(task="mail.send")
    other = ops.bury(task="hooks.call")
    assert "4 dead letters would be replayed" in ops.ok("dead", "replay", "--task", "mail.send", "--dry-run")
    assert ready(ops) == 0
    refused = ops.run("dead", "replay", "--task", "mail.send")
    assert refused.exit_code == 1
    assert "Replay 4 dead letters?" in refused.stderr
    assert ready(ops) == 0
    assert "1 dead letter replayed" in ops.ok(
        "dead", "replay", "--task", "mail.send", "--limit", "1", "--yes"
    )
    started = time.monotonic()
    ops.ok("dead", "replay", "--task", "mail.send", "--rate", "10/s", "--yes")
    assert time.monotonic() - started >= 0.2
    assert ready(ops) == 4
    assert [letter["job_id"] for letter in ops.json("dead", "list")] == [other]
    assert "1 dead letter replayed" in ops.ok("dead", "replay", "--all", "--yes")


def test_a_replay_may_go_to_another_queue(ops: Ops) -> None:
    ops.bury()
    ops.ok("dead", "replay", "--all", "--yes", "--queue", "slow")
    assert (ready(ops, "slow"), ready(ops)) == (1, 0)


def test_a_letter_without_a_job_is_replayed_only_by_force(ops: Ops) -> None:
    letter = ops.letter(ops.bury(reason=Reason.INVALID))
    done = ops.run("dead", "replay", letter["id"])
    assert done.exit_code == 1
    assert "not a job" in done.stderr
    ops.ok("dead", "replay", letter["id"], "--force")
    assert ready(ops) == 1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--all", "--task", "mail.send"],
        ["abc", "--all"],
        ["--rate", "often", "--all"],
        ["--since", "soon"],
    ],
)
def test_an_ambiguous_choice_is_refused(ops: Ops, words: list[str]) -> None:
    ops.bury()
    assert ops.run("dead", "replay", *words, "--yes").exit_code != 0
    assert ready(ops) == 0


def test_discarded_letters_stay_on_record(ops: Ops) -> None:
    letter = ops.letter(ops.bury())
    assert ops.run("dead", "discard", letter["id"]).exit_code == 1  # nobody to ask
    assert ops.json("dead", "list")
    assert "1 dead letter discarded" in ops.ok("dead", "discard", letter["id"], "--yes")
    assert ops.json("dead", "list") == []
    assert ops.json("dead", "list", "--status", "discarded")[0]["id"] == letter["id"]
    assert "discarded" in ops.ok("dead", "list", "--status", "any")


# queues


def test_purge_deletes_what_waits_and_nothing_else(ops: Ops) -> None:
    ops.enqueue("mail", 3)
    ops.enqueue("slow", 1)
    asked = ops.run("purge", "mail")
    assert asked.exit_code == 1
    assert "Delete 3 jobs of mail for good?" in asked.stderr
    assert ready(ops) == 3
    assert "mail: 3 jobs deleted" in ops.ok("purge", "mail", "--yes")
    assert (ready(ops), ready(ops, "slow")) == (0, 1)
    assert ops.run("purge", "--yes").exit_code == 2


def test_delayed_jobs_are_listed_run_now_and_cancelled(ops: Ops) -> None:
    soon, late = str(uuid.uuid4()), str(uuid.uuid4())
    for job_id, hours in ((late, 2), (soon, 1)):
        ops.services.broker.publish(ops.message(job_id), "mail", due=utcnow() + timedelta(hours=hours))
    assert [job["job_id"] for job in ops.json("delayed", "list")] == [soon, late]
    page = ops.ok("delayed", "list")
    assert soon in page
    assert all(len(line) <= 80 for line in page.splitlines())

    ops.ok("delayed", "run-now", late)
    assert ready(ops) == 1
    assert ops.waiting()[0]["id"] == late
    assert ops.run("delayed", "cancel", soon).exit_code == 1  # nobody to ask
    ops.ok("delayed", "cancel", soon, "--yes")
    assert ops.json("delayed", "list") == []
    assert ops.services.broker.depths([DEAD_QUEUE])[0].ready == 0
    again = ops.run("delayed", "cancel", soon, "--yes")
    assert again.exit_code == 1
    assert "not delayed" in again.stderr
    assert ops.json("show", soon)["state"] == "cancelled"


def test_delayed_jobs_are_handed_over_to_plain_celery(ops: Ops) -> None:
    for hours in (1, 2):
        ops.services.broker.publish(ops.message(str(hours)), "mail", due=utcnow() + timedelta(hours=hours))
    assert ops.run("delayed", "hand-over").exit_code == 1  # nobody to ask
    assert "mail: 2 jobs handed over" in ops.ok("delayed", "hand-over", "--yes")
    assert ops.json("delayed", "list") == []
    first = ops.waiting()[0]
    assert (first["id"], bool(first["eta"])) == ("1", True)


@pytest.mark.parametrize("kind", ["rabbitmq", "stock"])
def test_a_broker_that_cannot_show_delayed_jobs_says_so(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"NIGHTSHIFT_REDIS_TRANSPORT": "kombu"} if kind == "stock" else {}
    server = request.getfixturevalue("valkey" if kind == "stock" else "rabbitmq")
    with opened(tmp_path, server.fresh_url(), **config) as ops:
        done = ops.run("delayed", "list")
        assert done.exit_code == 1
        assert "cannot be seen" in done.stderr
        assert "s3cret" not in done.output


# one job, tables


def test_one_job_is_shown_with_its_attempts(ops: Ops) -> None:
    job = ops.ran(outcome="dead", runtime=1.5)
    ops.flush()
    page = ops.ok("show", job.job_id)
    for part in (job.job_id, "mail.send", "dead", "OSError: refused", "1.5s", "req-1"):
        assert part in page
    assert ops.json("show", job.job_id)["history"][0]["runtime"] == 1.5
    missing = ops.run("show", "nothing")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("Error: there is no job 'nothing'")


def test_migrate_says_what_it_did(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url(), migrate=False) as ops:
        assert "applied" in ops.ok("migrate")
        assert "up to date" in ops.ok("migrate")


# failing


COMMANDS = [
    ["dead", "list"], ["dead", "show", "x"], ["dead", "replay", "--all", "--yes"],
    ["dead", "discard", "--all", "--yes"], ["show", "x"], ["migrate"],
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_error_for_a_database_that_is_down_is_one_line(
    words: list[str], valkey: Valkey, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.fresh_url().replace(f":{postgres.port}/", ":9/")
    with opened(tmp_path, valkey.fresh_url(), migrate=False, NIGHTSHIFT_DATABASE_URL=url) as ops:
        _fails_in_one_line(ops, words)


@pytest.mark.parametrize(
    "words",
    [["purge", "--all", "--yes"], ["delayed", "list"], ["dead", "replay", "--all", "--yes"]],
    ids=" ".join,
)
def test_the_error_for_a_broker_that_is_down_is_one_line(words: list[str], ops: Ops, valkey: Valkey) -> None:
    ops.bury()
    valkey.stop()
    _fails_in_one_line(ops, words)


def _fails_in_one_line(ops: Ops, words: list[str]) -> None:
    done = ops.run(*words)
    assert done.exit_code == 1
    said = done.stderr.removeprefix("\n")  # an empty line of rich 14, where a bar would be
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1
    assert "s3cret" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "wrongapp.py").write_text(
        "from flask import Flask\nfrom flask_nightshift import Nightshift\n"
        "def create_app():\n    app = Flask('wrongapp')\n"
        "    app.config['NIGHTSHIFT_STOP_GRACE'] = 'soon'\n    Nightshift(app)\n    return app\n"
    )
    for words in (["health"], ["worker"], ["migrate"]):
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wrongapp", "jobs", *words],
            cwd=tmp_path, text=True, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "NIGHTSHIFT_STOP_GRACE = 'soon' is not usable" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_error_for_an_app_without_the_extension_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bareapp.py").write_text("from flask import Flask\napp = Flask('bareapp')\n")
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "bareapp", "jobs", "stats"],
        cwd=tmp_path, text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "call Nightshift(app)" in done.stderr
    assert "Traceback" not in done.stderr
