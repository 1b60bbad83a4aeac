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

from beats import START, Beats, Clock
from flask_nightshift.errors import ConfigurationError
from flask_nightshift.store import heartbeats
from opsapp import opened
from servers import Valkey, wait_for
from system import running

Make = Callable[..., Beats]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def beats(valkey: Valkey, tmp_path: Path) -> Iterator[Make]:
    """Make a Beat of one entry, ``often``, in an app with the given settings."""
    with ExitStack() as stack:

        def make(when: Any, *, args: Any = (1,), **config: Any) -> Beats:
            ops = stack.enter_context(opened(tmp_path, valkey.fresh_url(), **config))
            entry = {"task": "mail.send", "schedule": when, "args": args}
            ops.services.celery.conf.beat_schedule = {"often": entry}
            made = Beats(ops)
            stack.callback(made.end)
            return made

        yield make


def reschedule(lives: Beats, when: Any) -> None:
    lives.ops.services.celery.conf.beat_schedule["often"]["schedule"] = when


# the clock was wrong once


@pytest.mark.parametrize("kind", ["interval", "crontab"])
def test_a_last_run_in_the_future_does_not_silence_an_entry(
    clock: Clock, beats: Make, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    when = crontab(nowfun=clock) if kind == "crontab" else schedule(timedelta(minutes=1), nowfun=clock)
    lives = beats(when)
    lives.live()
    clock.at += timedelta(days=365)  # it jumps ahead, while Beat runs
    assert lives.turn() == 1
    lives.end()

    clock.at = START + timedelta(minutes=10)  # and is right again at the next start
    lives.live()
    lives.turn()
    clock.at += timedelta(minutes=2)
    assert lives.turn() == 1
    assert [vars(r)["entry"] for r in caplog.records if r.msg == "beat.last_run_in_the_future"] == ["often"]

    clock.at -= timedelta(minutes=30)  # or while it runs
    lives.turn()
    clock.at += timedelta(minutes=2)
    assert lives.turn() == 1


# daylight saving


def runs(lives: Beats, clock: Clock, begin: datetime, end: datetime) -> list[str]:
    """The local times at which the entry runs from ``begin`` to ``end``, looked at every five minutes."""
    clock.at = begin
    lives.live()
    found = []
    while clock.at < end:
        clock.at += timedelta(minutes=5)
        found += [f"{clock.at:%H:%M}"] * lives.turn()
    return found


@pytest.mark.parametrize(
    ("text", "autumn", "spring"),
    [
        ("0 * * * *", ["00:00", "01:00", "02:00", "03:00"], ["00:00", "01:00", "02:00", "03:00"]),
        ("*/30 * * * *", ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30", "03:00"],
         ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30", "03:00"]),
        ("30 2 * * *", ["00:30"], ["01:30"]),
    ],
)  # fmt: skip
def test_when_the_clock_changes_each_hour_that_passes_has_its_runs(
    clock: Clock, beats: Make, text: str, autumn: list[str], spring: list[str]
) -> None:
    minute, hour, *_ = text.split()
    lives = beats(
        crontab(minute=minute, hour=hour, nowfun=clock), NIGHTSHIFT_CELERY={"timezone": "Europe/Berlin"}
    )
    night = datetime(2026, 10, 24, 23, 50, tzinfo=UTC)  # in UTC; at 01:00 the clocks go from 03:00 to 02:00
    assert runs(lives, clock, night, night + timedelta(hours=3, minutes=15)) == autumn
    night = datetime(2027, 3, 27, 23, 50, tzinfo=UTC)  # at 01:00 they go from 02:00 to 03:00
    lives.turn()
    assert runs(lives, clock, night, night + timedelta(hours=3, minutes=15))[-len(spring) :] == spring


def test_a_crontab_that_was_changed_does_not_run_at_the_restart(clock: Clock, beats: Make) -> None:
    lives = beats(crontab("30", "13", nowfun=clock))
    lives.live()
    clock.at = START.replace(hour=13, minute=30)
    assert lives.turn() == 1
    clock.at = START.replace(day=3, hour=12)
    reschedule(lives, crontab("0", "16", nowfun=clock))
    lives.live()
    assert lives.turn() == 0, "what it would have missed yesterday was not in the schedule then"
    lives.live()
    clock.at = START.replace(day=3, hour=16)
    assert lives.turn() == 1
    clock.at = START.replace(day=4, hour=17)
    lives.live()
    assert lives.turn() == 1, "missed in a downtime, unchanged"


# entries


def test_arguments_are_computed_at_each_tick(clock: Clock, beats: Make) -> None:
    lazily = BeatLazyFunc(lambda: clock.at.isoformat())
    lives = beats(schedule(timedelta(minutes=1), nowfun=clock), args=(lazily,))
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
}

SCHEDULES = [kind for kind, (wrong, _) in BAD.items() if "schedule" in wrong]


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
            Beats(ops).live()

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


def test_a_beat_embedded_in_celerys_worker_is_seen_and_remembers(valkey: Valkey, tmp_path: Path) -> None:
    """On SQLite, too, which its fork could not open."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "celery_beatapp",
        "worker",
        "-B",
        "-l",
        "info",
        "-c",
        "1",
    ]
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="beatapp") as system:
        worker = system._start("worker", command, {})
        system.until(lambda: worker.lines("job.succeeded"), 30, "no scheduled job has run")
        system.until(lambda: len(system.json("stats")["beat"]["alive"]) == 1, 15, "Beat is not seen")
        assert "beat_embedded_init Service" in worker.log
        assert worker.stop() == 0
        stopped = system.json("stats")["beat"]
        assert stopped["alive"] == []
        assert stopped["last_tick"]


def test_doctor_and_health_report_two_beats(valkey: Valkey, tmp_path: Path) -> None:
    with opened(tmp_path, valkey.fresh_url()) as ops:
        ops.worker_seen()
        for name in ("beat@one:7", "beat@two:8"):
            heartbeats.tick(ops.services.store, name, datetime.now(UTC))
        found = next(
            each for each in json.loads(ops.run("doctor", "--json").stdout) if each["check"] == "beat"
        )
        assert found["level"] == "warning"
        assert "beat@one:7, beat@two:8" in found["message"]
        assert "2 run" in ops.ok("health", "--part", "beat")
        heartbeats.stop(ops.services.store, "beat@two:8", datetime.now(UTC))
        assert "2 run" not in ops.ok("health", "--part", "beat")
