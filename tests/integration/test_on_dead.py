"""``jobs.on_dead()``: each dead letter is told once, whoever made it, and a bad function harms nothing."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from broker_harness import a_job
from flask_nightshift import ConfigurationError, DeadLetterNotice, Nightshift, PermanentFailure
from flask_nightshift.dead_letters import notices
from flask_nightshift.domain.job import DeadLetter, Failure, Reason, utcnow
from flask_nightshift.outbox import writing
from flask_nightshift.outbox.rows import row_of
from flask_nightshift.services import letter_url
from flask_nightshift.testing import in_memory
from servers import Server, wait_for
from system import System, running

BROKERS = ["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]


def _told(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _all_told(path: Path, ids: dict[str, str]) -> bool:
    return {each["job_id"] for each in _told(path)} == set(ids.values())


def _work_until(system: System, name: str, done: Callable[[], bool]) -> None:
    """Start a worker, unless all is done, and wait until it is, or a job has killed the worker."""
    if not done():
        worker = system.worker("--pool", "solo", name=name, wait=False)
        system.until(lambda: worker.popen.poll() is not None or done(), 60, "not all told")


def _enqueue(system: System) -> dict[str, str]:
    said = system.python("import noticeapp, json; print(json.dumps(noticeapp.main()))")
    made: dict[str, str] = json.loads(said.splitlines()[-1])
    return made


@pytest.mark.parametrize("broker", BROKERS)
def test_each_letter_is_told_once(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Server = request.getfixturevalue(broker)
    path = tmp_path / "notices"
    path.touch()
    settings = {"NIGHTSHIFT_DELIVERY_LIMIT": "1", "NIGHTSHIFT_UNKNOWN_TASK_WAIT": "0"}
    with running(
        tmp_path, server.fresh_url(), FLASK_APP="noticeapp", NOTICES=str(path), **settings
    ) as system:
        ids = _enqueue(system)
        time.sleep(0.3)  # until one has expired in its queue
        for number in range(4):  # each runs the job that kills it, up to the limit
            _work_until(system, f"worker{number}", lambda: _all_told(path, ids))
        assert _all_told(path, ids)
        assert system.archived() == set(ids.values())
        for each in system.processes:
            if each.popen.poll() is None:
                each.stop()
        log = "".join(each.log for each in system.processes)
    told = _told(path)
    assert Counter(each["job_id"] for each in told) == dict.fromkeys(ids.values(), 1)
    by_name = {name: each for name, job_id in ids.items() for each in told if each["job_id"] == job_id}
    assert {name: each["reason"] for name, each in by_name.items()} == {
        "flaky": "exhausted",
        "permanent": "permanent",
        "expired": "expired",
        "unknown": "unknown_task",
        "kills": "delivery_limit",
    }
    flaky = by_name["flaky"]
    assert (flaky["task"], flaky["queue"], flaky["attempts"]) == ("flaky", "celery", 2)
    assert (flaky["error"], flaky["message"]) == ("ConnectionError", "the partner is down")
    assert flaky["url"] == f"https://shop.example/app/nightshift/letters/letter?letter_id={flaky['id']}"
    assert by_name["expired"]["attempts"] == by_name["unknown"]["attempts"] == 0
    assert {each["app"] for each in told} == {"shop"}  # within the app context
    assert flaky["text"] == (
        f"flaky ({flaky['job_id']}) died in the queue celery after 2 attempts (exhausted): ConnectionError: "
        f"the partner is down {flaky['url']}"
    )
    failures = [json.loads(line) for line in log.splitlines() if "dead_letters.on_dead_failed" in line]
    assert Counter(each["job_id"] for each in failures) == dict.fromkeys(ids.values(), 1)
    assert {each["function"] for each in failures} == {"raises"}


def test_a_function_that_hangs_holds_up_nothing(valkey: Server, tmp_path: Path) -> None:
    path = tmp_path / "notices"
    path.touch()
    settings = {
        "FLASK_APP": "noticeapp",
        "NOTICES": str(path),
        "HANGS": "1",
        "NIGHTSHIFT_UNKNOWN_TASK_WAIT": "0",
    }
    with running(tmp_path, valkey.fresh_url(), **settings) as system:
        code = (
            "import noticeapp, json\n"
            "with noticeapp.create_app().app_context():\n"
            "    print(json.dumps([noticeapp.permanent.delay().id for _ in range(3)]))"
        )
        ids = json.loads(system.python(code).splitlines()[-1])
        worker = system.worker("--pool", "solo")
        system.until(lambda: system.archived() == set(ids), 60, "the letters are not stored")
        system.until(lambda: len(_told(path)) == 1, 30, "none is told")
        assert worker.stop(30) == 0
        (line,) = worker.lines("dead_letters.notices_dropped")
        assert line["letters"] == 2
        assert len(_told(path)) == 1


def test_beat_tells_what_its_relay_has_buried_before_it_ends(valkey: Server, tmp_path: Path) -> None:
    path = tmp_path / "notices"
    path.touch()
    damaged = row_of(a_job(), task="fine", queue="celery", due=None)._replace(message=b"\xc1")
    settings = {"FLASK_APP": "noticeapp", "NOTICES": str(path), "SLOW": "2"}
    with running(tmp_path, valkey.fresh_url(), **settings) as system:
        with system.store() as store, store.begin() as connection:
            writing.write(connection, [damaged])
        beat = system.beat()
        system.until(lambda: system.archived(), 40, "nothing is buried")
        assert not _told(path)
        beat.stop()
    assert [each["job_id"] for each in _told(path)] == [damaged.job_id]


def test_in_the_test_kit_and_with_several_apps(tmp_path: Path) -> None:
    jobs, told = Nightshift(), []
    first, second = (Flask(name, instance_path=str(tmp_path / name)) for name in ("first", "second"))
    jobs.init_app(first)

    @jobs.on_dead
    def tell(notice: DeadLetterNotice) -> None:
        told.append(notice)

    jobs.init_app(second)

    @jobs.task(name="dies")
    def dies() -> None:
        raise PermanentFailure("no")

    for app in (first, second):
        with in_memory(app) as kit, app.app_context():
            dies.delay()
            kit.drain(raise_errors=False)
            assert len(kit.dead_letters()) == 1
        notice = told.pop()
        assert not told
        assert (notice.task, notice.reason, notice.attempts) == ("dies", Reason.PERMANENT, 1)
        assert (notice.error, notice.message) == ("flask_nightshift.errors.PermanentFailure", "no")
        assert notice.url is None  # without SERVER_NAME nobody knows where the dashboard is


def test_more_letters_than_can_wait_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(notices, "MOST", 2)
    told: list[str] = []
    app = Flask("shop", instance_path=str(tmp_path))
    made = notices.Notices([lambda notice: told.append(notice.id)], lambda _: None, app.app_context)
    made.tell([_letter(str(number)) for number in range(5)])
    wait_for(lambda: len(told) == 2, 10, "two are told")
    assert told == ["0", "1"]
    (record,) = [each for each in caplog.records if each.getMessage() == "dead_letters.notices_dropped"]
    assert vars(record)["letters"] == 3
    made.stop()


def test_what_cannot_be_called_is_refused() -> None:
    async def later(notice: DeadLetterNotice) -> None: ...

    bad: Any
    for bad in (later, "slack"):
        with pytest.raises(ConfigurationError, match="no coroutine"):
            Nightshift().on_dead(bad)


@pytest.mark.parametrize(
    ("config", "prefix", "url"),
    [
        ({"SERVER_NAME": "shop.example:8000"}, "/nightshift", "http://shop.example:8000/nightshift/letters/letter?letter_id=a+b"),
        ({"SERVER_NAME": "shop.example"}, "", None),
        ({}, "/nightshift", None),
    ],
)  # fmt: skip
def test_the_link(config: dict[str, str], prefix: str, url: str | None) -> None:
    assert letter_url(config, prefix, "a b") == url


def _letter(letter_id: str) -> DeadLetter:
    failure = Failure("ValueError", "no")
    return DeadLetter(
        letter_id,
        Reason.PERMANENT,
        utcnow(),
        "celery",
        "job",
        "task",
        failure,
        b"[]",
        "application/json",
        "utf-8",
    )
