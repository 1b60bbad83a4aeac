"""``flask jobs schedule``: what it shows, and that every Beat obeys what it orders, also one that starts later."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chaos.ticks import Ticks
from flask_nightshift.cli import jobs as cli
from flask_nightshift.domain.job import utcnow
from flask_nightshift.schedule import lookup
from flask_nightshift.schedule.life import Life
from flask_nightshift.store import schedules
from opsapp import Ops, opened
from servers import Valkey, wait_for
from steerapp import create_app

PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]
HEARD = 2.0
"""Seconds in which each Beat hears of an order."""


class Steered:
    """A system whose worker has a Beat, beside another Beat; commands run in the test's process."""

    def __init__(self, ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ticks = ticks
        for name in ("INSTANCE", "LEDGER", "NIGHTSHIFT_BROKER_URL", "NIGHTSHIFT_DATABASE_URL"):
            monkeypatch.setenv(name, ticks.system.env[name])
        self.app = create_app()

    def __call__(self, *words: str, fails: bool = False) -> Any:
        done = self.app.test_cli_runner().invoke(cli, ["schedule", *words, "--json"])
        assert done.exit_code == fails, done.output
        return done.stderr if fails else json.loads(done.stdout)

    def last(self, entry: str = "second") -> float:
        """When the latest tick that ran was due."""
        return max(self.ticks.ran(entry), default=0.0)

    def ticks_again(self, after: float) -> None:
        wait_for(lambda: self.last() > after, 20, f"no tick after {after}")


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def steer(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Steered]:
    broker, database = request.param
    server = request.getfixturevalue(broker)
    url = f"sqlite:///{tmp_path}/history.sqlite3"
    if database == "postgres":
        url = request.getfixturevalue("postgres").fresh_url()
    ticks = Ticks(tmp_path, server.fresh_url(), url, worker_has_beat=True)
    ticks.beat(1)
    made = Steered(ticks, monkeypatch)
    yield made
    made.app.extensions["nightshift"].close()
    ticks.close()


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def test_every_beat_obeys(steer: Steered) -> None:
    steer.ticks_again(0.0)
    seen = {entry["name"]: entry for entry in steer("list")}
    assert seen["second"]["words"] == "every second"
    assert (seen["minute"]["words"], seen["minute"]["cron"]) == ("every minute", "* * * * *")
    assert 0 < seconds(seen["minute"]["next_at"]) - time.time() <= 60

    # a pause holds, also for a Beat that starts later
    [paused] = steer("pause", "second")
    at = seconds(paused["paused_at"])
    steer.ticks.beats[1].kill_tree()
    steer.ticks.beat(1)
    time.sleep(max(0.0, at + HEARD + 1.5 - time.time()))
    assert steer.last() < at + HEARD
    [held] = [entry for entry in steer("list") if entry["name"] == "second"]
    assert held["paused_at"] == paused["paused_at"]
    assert held["next_at"] is None
    assert "paused" in steer("skip-next", "second", fails=True)

    # nothing of the pause is made up for
    before = time.time()
    assert steer("resume", "second", "minute") == [
        {"entry": "second", "resumed": True},
        {"entry": "minute", "resumed": False},
    ]
    steer.ticks_again(before)
    assert not [due for due in steer.ticks.ran("second") if at + HEARD < due < before - 1]

    # an extra run moves nothing
    run = steer("run-now", "minute")["job_id"]
    wait_for(lambda: f"{run} minute" in steer.ticks.system.ledger.read_text(), 10, "it did not run")
    due = seconds(next(entry["next_at"] for entry in steer("list") if entry["name"] == "minute"))
    assert due % 60 == 0

    # each call leaves out one more run, and list says what is next
    left_out = [seconds(steer("skip-next", "minute")["left_out"]) for _ in range(2)]
    assert left_out == [left_out[0], left_out[0] + 60]
    assert seconds(steer("show", "minute")["next_at"]) == left_out[1] + 60

    shown = steer("show", "second")
    wait_for(lambda: steer("show", "second")["runs"][-1]["state"] == "succeeded", 10, "history is late")
    dues = [seconds(run["due_at"]) for run in shown["runs"]]
    assert dues == sorted(dues, reverse=True)
    assert set(dues) <= set(steer.ticks.ran("second")) | {dues[0]}


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    whens: dict[str, Any] = {"nightly": "30 2 * * 1-5", "often": 600}
    entries = {name: {"task": "mail.send", "schedule": when} for name, when in whens.items()}
    with opened(tmp_path, valkey.fresh_url(), NIGHTSHIFT_SCHEDULE=entries) as made:
        yield made


@pytest.mark.parametrize("command", ["show", "run-now", "skip-next", "pause", "resume"])
def test_an_unknown_entry_is_refused_with_the_nearest_name(ops: Ops, command: str) -> None:
    done = ops.run("schedule", command, "nigthly")
    assert done.exit_code == 1
    assert "the schedule has no entry 'nigthly'; did you mean 'nightly'?" in done.stderr
    assert "it has 'nightly', 'nightshift.prune', 'often'" in ops.run("schedule", command, "x").stderr


def test_nothing_is_paused_if_one_of_several_names_is_wrong(ops: Ops) -> None:
    assert ops.run("schedule", "pause", "nightly", "oftn").exit_code == 1
    assert [entry["paused_at"] for entry in ops.json("schedule", "list")] == [None] * 3


def test_before_any_beat_an_entry_can_be_paused_and_run_but_has_no_next_run(ops: Ops) -> None:
    assert "no Beat has looked at it yet" in ops.run("schedule", "skip-next", "nightly").stderr
    job_id = ops.ok("schedule", "run-now", "nightly").strip()
    assert [headers["id"] for headers in ops.waiting()] == [job_id]
    assert "paused since" in ops.ok("schedule", "pause", "nightly")
    shown = ops.ok("schedule", "show", "nightly")
    assert "at 02:30 on weekdays, UTC" in shown
    assert "30 2 * * 1-5" in shown
    listed = ops.ok("schedule", "list")
    assert "paused" in listed
    assert "every 10 minutes" in listed
    assert "resumed" in ops.ok("schedule", "resume", "nightly")


def test_a_run_now_of_an_entry_without_overlap_says_which_job_is_in_its_way(ops: Ops) -> None:
    ops.services.celery.conf.beat_schedule = {
        "alone": {"task": "mail.send", "schedule": 600, "overlap": "skip"},
    }
    first = ops.ok("schedule", "run-now", "alone").strip()
    done = ops.run("schedule", "run-now", "alone")
    assert done.exit_code == 1
    assert first in done.stderr


def test_all_overdue_runs_are_left_out_and_the_first_is_named(ops: Ops) -> None:
    entry, now = lookup.named(ops.services, "often"), utcnow()
    ended = (now - timedelta(hours=1)).replace(microsecond=0)  # of the only Beat
    schedules.adopt(ops.services.store, {"often": Life.of(entry, ended).begin(entry)}, ended)
    skipped = ops.json("schedule", "skip-next", "often")["left_out"]
    assert datetime.fromisoformat(skipped) == ended + timedelta(minutes=10)
    shown = ops.json("schedule", "show", "often")
    assert datetime.fromisoformat(shown["next_at"]) == ended + timedelta(minutes=70)
    assert "resumed" in ops.ok("schedule", "resume", "often")
    assert datetime.fromisoformat(ops.json("schedule", "show", "often")["next_at"]) < now


def test_arguments_that_are_redacted_are_not_shown(ops: Ops) -> None:
    secret = {
        "task": "mail.send",
        "schedule": 600,
        "args": [7],
        "kwargs": {"password": "s3cret", "to": "ada"},
    }
    ops.services.celery.conf.beat_schedule = {
        "secret": secret | {"options": {"headers": {"token": "s3cret"}}}
    }
    told = [ops.ok("schedule", "show", "secret"), ops.ok("schedule", "list", "--json")]
    assert all("s3cret" not in each and "ada" in each for each in told)


def test_doctor_names_what_is_paused(ops: Ops) -> None:
    ops.ok("schedule", "pause", "nightly")
    found = [each for each in ops.json("doctor") if each["check"] == "schedule"]
    assert ["entry 'nightly' is paused since" in each["message"] for each in found] == [True]
