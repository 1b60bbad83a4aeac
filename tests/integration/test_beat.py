"""Beat with wrong clocks, wrong entries and clock changes: which jobs run, which entries are refused, what is shown."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.beat import BeatLazyFunc
from celery.schedules import crontab, schedule
from redis import Redis
from sqlalchemy import select

from beats import START, Beats, Clock
from flask_nightshift.errors import ConfigurationError
from flask_nightshift.store import heartbeats
from flask_nightshift.store.schedules import Progress
from flask_nightshift.store.tables import outbox
from opsapp import opened
from servers import Valkey, wait_for
from system import running

Make = Callable[..., Beats]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def beats(clock: Clock, valkey: Valkey, tmp_path: Path) -> Iterator[Make]:
    """Make a Beat of one entry, ``often``, in an app with the given settings."""
    with ExitStack() as stack:

        def make(when: Any, *, args: Any = (1,), **more: Any) -> Beats:
            """``more`` are keys of the entry, and settings."""
            config = {name: more.pop(name) for name in list(more) if name.isupper()}
            ops = stack.enter_context(opened(tmp_path, valkey.fresh_url(), **config))
            entry = {"task": "mail.send", "schedule": when, "args": args, **more}
            ops.services.celery.conf.beat_schedule = {"often": entry}
            made = Beats(ops, clock)
            stack.callback(made.end)
            return made

        yield make


def reschedule(lives: Beats, when: Any) -> None:
    lives.ops.services.celery.conf.beat_schedule["often"]["schedule"] = when


# the clock was wrong once


def test_a_last_tick_in_the_future_does_not_silence_an_entry(
    clock: Clock, beats: Make, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    lives = beats(timedelta(minutes=1))
    scheduler = lives.live()
    future = datetime.now(UTC) + timedelta(days=365)
    with Redis.from_url(valkey.url) as client:
        client.set("nightshift:tick:mail:often", f"{future.timestamp():.6f}")
    scheduler.memory.did("often", Progress(last_due_at=START + timedelta(days=365)))
    lives.live()
    assert lives.turn() == 0
    clock.at += timedelta(minutes=1)
    assert lives.turn() == 1
    lives.live()
    clock.at += timedelta(minutes=1)
    assert lives.turn() == 1, "the database has the right one again"
    assert not [r for r in caplog.records if r.msg == "beat.ticks_missed"]


def test_a_clock_that_is_set_back_by_less_than_an_hour_runs_no_tick_twice(clock: Clock, beats: Make) -> None:
    lives = beats(timedelta(minutes=1))
    lives.live()
    clock.at += timedelta(minutes=1)
    assert lives.turn() == 1
    clock.at -= timedelta(minutes=50)
    ran = 0
    for _ in range(52):
        ran += lives.turn()
        clock.at += timedelta(minutes=1)
    assert ran == 1, "the one that is new"


def test_an_outage_of_the_broker_is_logged_once_and_so_are_the_ticks_that_it_cost(
    clock: Clock, beats: Make, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    def logged(event: str) -> list[Any]:
        return [record for record in caplog.records if record.msg == event]

    lives = beats(timedelta(minutes=1))
    scheduler = lives.live()
    clock.at += timedelta(minutes=1)
    assert lives.turn() == 1
    valkey.stop()
    for _ in range(3):
        clock.at += timedelta(minutes=1)
        scheduler.tick()
    [waits] = logged("beat.tick_waits")
    assert "cannot be used" in waits.why
    assert logged("beat.ticks_missed") == [], "what becomes of them is not known yet"
    valkey.start()
    wait_for(lambda: scheduler.tick() > 1 and logged("beat.ticks_missed"), 20, "they are not caught up")
    assert [missed.enqueued for missed in logged("beat.ticks_missed")] == [1]
    clock.at += timedelta(minutes=1)
    assert lives.turn() == 1
    assert len(logged("beat.tick_waits")) == 1


# time zones


def test_an_entry_has_its_own_time_zone(clock: Clock, beats: Make) -> None:
    """The nights on which clocks change: see the unit tests."""
    lives = beats("30 3 * * *", timezone="Asia/Tokyo", NIGHTSHIFT_CELERY={"timezone": "Europe/Berlin"})
    clock.at = datetime(2024, 3, 4, 18, 29, tzinfo=UTC)
    lives.live()
    assert lives.turn() == 0
    clock.at += timedelta(minutes=1)
    assert lives.turn() == 1


def test_a_crontab_that_was_changed_does_not_run_at_the_restart(clock: Clock, beats: Make) -> None:
    lives = beats(crontab("30", "13"))
    lives.live()
    clock.at = START.replace(hour=13, minute=30)
    assert lives.turn() == 1
    clock.at = START.replace(day=5, hour=12)
    reschedule(lives, crontab("0", "16"))
    lives.live()
    assert lives.turn() == 0, "what it would have missed yesterday was not in the schedule then"
    lives.live()
    clock.at = START.replace(day=5, hour=16)
    assert lives.turn() == 1
    clock.at = START.replace(day=6, hour=17)
    lives.live()
    assert lives.turn() == 1, "missed in a downtime, unchanged"


# entries


def test_arguments_are_computed_at_each_tick(clock: Clock, beats: Make) -> None:
    lazily = BeatLazyFunc(lambda: clock.at.isoformat())
    lives = beats(timedelta(minutes=1), args=(lazily,))
    lives.live()
    wanted = []
    for _ in range(2):
        clock.at += timedelta(minutes=1)
        assert lives.turn() == 1
        wanted.append(clock.at.isoformat())
    assert sorted(argument(headers) for headers in lives.ops.waiting()[:2]) == wanted


def argument(headers: dict[str, Any]) -> Any:
    return ast.literal_eval(headers["argsrepr"])[0]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "never": ({"schedule": timedelta(0)}, r"\['schedule'\] = datetime.timedelta\(0\)"),
    "negative": ({"schedule": timedelta(seconds=-1)}, r"\['schedule'\] = .*above zero"),
    "no number": ({"schedule": float("nan")}, r"\['schedule'\] = nan"),
    "for ever": ({"schedule": 1e300}, r"\['schedule'\] = 1e\+300.*fewer"),
    "Celery's": ({"schedule": schedule(timedelta(0))}, r"\['schedule'\] = .*above zero"),
    "empty crontab": ({"schedule": crontab(minute=[])}, r"its minute is empty"),
    "text as arguments": ({"args": "abc"}, r"\['args'\] = 'abc'.*list"),
    "number as arguments": ({"args": 5}, r"\['args'\] = 5.*list"),
    "list as keywords": ({"kwargs": ["a"]}, r"\['kwargs'\] = \['a'\].*dict"),
    "object": ({"args": [object()]}, r"\['args'\]\[0\] = <object"),
    "function": ({"kwargs": {"at": datetime.now}}, r"\['kwargs'\]\['at'\] = .*BeatLazyFunc"),
    "misspelt key": ({"shedule": 5}, r"\['shedule'\] = 5.*did you mean 'schedule'"),
    "misspelt option": (
        {"options": {"prority": 5}},
        r"\['options'\] = .*prority=5.*did you mean 'priority'",
    ),
    "priority": ({"options": {"priority": "high"}}, r"\['options'\] = .*priority='high'"),
    "queue": ({"queue": ""}, r"\['options'\] = .*queue=''"),
    "countdown": ({"options": {"countdown": "5"}}, r"\['options'\] = .*countdown='5'"),
    "options": ({"options": "queue=mail"}, r"\['options'\] = 'queue=mail'.*dict"),
    "no task": ({"task": None}, r"\['task'\] = None"),
    "catch-up": ({"catch_up": "never"}, r"\['catch_up'\] = 'never'.*'skip', 'once', 'all'"),
    "catch-up of a relative one": (
        {"relative": True, "catch_up": "all"},
        r"\['catch_up'\] = 'all'.*its last run",
    ),
    "relative crontab": (
        {"schedule": "0 * * * *", "relative": True},
        r"\['relative'\] = True.*only an interval",
    ),
    "no time zone": (
        {"schedule": "0 3 * * *", "timezone": "Europe/Berln"},
        r"\['timezone'\] = .*'Europe/Berlin'",
    ),
    "time zone of an interval": ({"timezone": "UTC"}, r"\['timezone'\] = 'UTC'.*only a crontab"),
    "jitter": ({"jitter": -1}, r"\['jitter'\] = -1.*from 0 to"),
    "jitter and eta": ({"jitter": 5, "options": {"eta": START}}, r"\['jitter'\] = 5.*eta"),
    "jitter and expires": ({"jitter": 60, "options": {"expires": 30}}, r"\['jitter'\] = 60.*expires=30"),
    "overlap": ({"overlap": True}, r"\['overlap'\] = True.*'skip'"),
    "two locks": ({"overlap": "skip", "options": {"unique": "until_done"}}, r"\['overlap'\] = .*unique"),
}

SCHEDULES = [kind for kind, (wrong, _) in BAD.items() if wrong.keys() == {"schedule"}]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("where", ["config", "conf"])
def test_an_entry_that_cannot_work_is_refused_by_its_name(tmp_path: Path, kind: str, where: str) -> None:
    wrong, says = BAD[kind]
    entry = {"task": "mail.send", "schedule": 60, **wrong}
    key = "NIGHTSHIFT_SCHEDULE" if where == "config" else "beat_schedule"
    config = {key: {"mine": entry}} if where == "config" else {}

    def declare() -> None:
        with opened(tmp_path, "redis://127.0.0.1:1/0", migrate=False, **config) as ops:
            ops.services.celery.conf.beat_schedule = {"mine": entry}
            Beats(ops, Clock()).live()

    with pytest.raises(ConfigurationError, match=rf"{key}\['mine'\].*" + says):
        declare()


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_periodic_task_that_cannot_work_is_refused_where_it_is_added(tmp_path: Path, kind: str) -> None:
    wrong, says = BAD[kind]
    with (
        opened(tmp_path, "redis://127.0.0.1:1/0", migrate=False) as ops,
        pytest.raises(ConfigurationError, match=r"beat_schedule\['mine'\].*" + says),
    ):
        ops.services.celery.add_periodic_task(wrong["schedule"], ops.send.s(1), name="mine")


def test_beat_and_doctor_say_in_a_line_which_entry_is_wrong(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="beatapp", WRONG="1") as system:
        done = system.cli("beat", ok=False)
        assert done.returncode == 1
        assert "Error: beat_schedule['wrong']['schedule'] = -1" in done.stderr
        assert "Traceback" not in done.stderr
        assert "beat_schedule['wrong']['schedule'] = -1" in " ".join(
            system.cli("doctor", ok=False).stdout.split()
        )


def test_a_real_beat_runs_every_entry_whenever_it_was_set_and_sends_its_signal(
    valkey: Valkey, tmp_path: Path
) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="beatapp") as system:
        process = system.beat()

        def said() -> set[str]:
            with opened(tmp_path, valkey.url, migrate=False) as ops:
                return {argument(headers) for headers in ops.waiting()}

        wanted = {"before", "celery", "config", "conf", "added", "after_configure", "after_finalize"}
        wait_for(lambda: said() == wanted, 20, "all of them")
        assert "beat_init Service" in process.log
        assert "Sending due task" not in process.log, "our own line says it"
        alive = system.json("stats")["beat"]["alive"]
        assert len(alive) == 1
        assert process.stop() == 0
        stopped = system.json("stats")["beat"]
        assert stopped["alive"] == []
        assert stopped["last_tick"]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            ["celery", "-A", "celery_beatapp", "worker", "-B", "-l", "info", "-c", "1"], id="celery"
        ),
        pytest.param(
            ["flask", "jobs", "worker", "--beat", "--pool", "gevent", "-c", "1"],
            id="gevent",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_a_beat_within_a_worker_is_seen_and_remembers(
    valkey: Valkey, tmp_path: Path, command: list[str]
) -> None:
    """On SQLite, too, which a fork could not open."""
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="beatapp") as system:
        worker = system._start("worker", [sys.executable, "-m", *command], {})
        system.until(lambda: worker.lines("job.succeeded"), 30, "no scheduled job has run")
        system.until(lambda: len(system.json("stats")["beat"]["alive"]) == 1, 15, "Beat is not seen")
        assert "beat_embedded_init Service" in worker.log
        assert worker.stop() == 0
        stopped = system.json("stats")["beat"]
        assert stopped["alive"] == []
        assert stopped["last_tick"]


def test_a_worker_with_an_unusable_schedule_does_not_start(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="beatapp", WRONG="1") as system:
        done = system.cli("worker", "--beat", "--pool", "solo", ok=False)
        assert done.returncode == 1
        assert "Error: beat_schedule['wrong']['schedule'] = -1" in done.stderr


def nothing() -> None:
    """A task that never runs."""


@pytest.mark.parametrize("broker", ["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_durable_and_unique_tasks_in_a_schedule(
    clock: Clock, broker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A tick of a durable task has its row; one of a unique task whose last job still waits is a duplicate."""
    with opened(tmp_path, request.getfixturevalue(broker).fresh_url()) as ops:
        options: dict[str, Any] = {"durable": {"durable": True}, "unique": {"unique": "until_done"}}
        for name, its in options.items():
            ops.services.celery.task(nothing, name=f"mail.{name}", queue="mail", **its)
        minute = timedelta(minutes=1)
        entries = {name: {"task": f"mail.{name}", "schedule": minute} for name in options}
        ops.services.celery.conf.beat_schedule = entries
        lives = Beats(ops, clock)
        lives.live()
        for ready in (2, 3, 4):
            clock.at += timedelta(minutes=1)
            lives.scheduler.tick()
            lives.scheduler.tick()  # each tick is done, also the duplicate
            wait_for(lambda ready=ready: lives.ready == ready, 10, f"{ready} jobs are enqueued")
        ops.flush()
        with ops.services.store.read() as connection:
            rows = connection.execute(select(outbox.c.task, outbox.c.state)).all()
        assert [tuple(row) for row in rows] == [("mail.durable", "published")] * 3
        (lock,) = ops.services.locks.held(10)
        assert lock.task == "mail.unique"
        lives.end()


def test_doctor_and_health_know_any_number_of_beats(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url()) as ops:
        ops.worker_seen()
        for name in ("beat@one:7", "beat@two:8"):
            heartbeats.tick(ops.services.store, name, datetime.now(UTC))
        found = next(
            each for each in json.loads(ops.run("doctor", "--json").stdout) if each["check"] == "beat"
        )
        assert found["level"] == "ok"
        assert "2 run: beat@one:7, beat@two:8" in found["message"]
        assert "2 run" in ops.ok("health", "--part", "beat")
        heartbeats.stop(ops.services.store, "beat@two:8", datetime.now(UTC))
        assert "2 run" not in ops.ok("health", "--part", "beat")
