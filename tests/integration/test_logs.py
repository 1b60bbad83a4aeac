"""Every log line about a job names the job, however it is written; no line contains a password."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from celery.app import trace
from flask import Flask, jsonify

from flask_nightshift import logs
from flask_nightshift.config import Settings
from flask_nightshift.domain.context import current_job
from flask_nightshift.domain.events import (
    JobDied,
    JobEnqueued,
    JobEvent,
    JobRetrying,
    JobReturned,
    JobStarted,
    JobSucceeded,
)
from flask_nightshift.domain.job import Failure, JobRef, Reason
from flask_nightshift.enqueue.request_id import request_id
from opsapp import Ops, opened
from servers import Valkey
from system import running

JOB = JobRef("0198c7f2-5d7b-7000-8000-00000000abcd", "mail.send", "mail", 2, "req-42")
AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def configured(**settings: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Settings(**{"log_format": "json", **settings}), stream=stream)
    return stream


@pytest.fixture
def lines() -> Lines:
    """Configure JSON logging; gives what was logged since."""
    stream = configured(log_level="DEBUG")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


EVENTS: dict[str, JobEvent] = {
    "job.enqueued": JobEnqueued(JOB, AT),
    "job.started": JobStarted(JOB, AT, "worker@one", 0.25),
    "job.succeeded": JobSucceeded(JOB, AT, "worker@one", 1.5),
    "job.retrying": JobRetrying(
        JOB, AT, "worker@one", 0.5, Failure("OSError", "refused"), AT + timedelta(seconds=4.25), 4.25, 5
    ),
    "job.dead": JobDied(
        JOB, AT, "worker@one", 0.5, Failure("OSError", "refused", "Traceback: …\nOSError"), Reason.EXHAUSTED
    ),
    "job.returned": JobReturned(JOB, AT, "worker@one", "the worker stops"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_each_event_is_a_line_with_its_job(lines: Lines, event: str) -> None:
    logs.observe(EVENTS[event])
    (line,) = lines()
    assert line["event"] == event
    assert line | {
        "job_id": JOB.job_id, "task": "mail.send", "attempt": 2, "queue": "mail", "request_id": "req-42",
    } == line  # fmt: skip
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    levels = {
        "job.enqueued": "debug",
        "job.retrying": "warning",
        "job.dead": "error",
        "job.returned": "warning",
    }
    assert line["level"] == levels.get(event, "info")


def test_a_retry_says_which_attempt_the_error_and_the_wait(lines: Lines) -> None:
    logs.observe(EVENTS["job.retrying"])
    (line,) = lines()
    assert line["message"].startswith(
        "attempt 2 of 6 failed with OSError: refused; next attempt in 4.2 s, at "
    )
    assert line["attempts_allowed"] == 6
    assert (line["error"], line["error_message"]) == ("OSError", "refused")
    assert (line["wait"], line["due"]) == (4.25, "2026-03-01T12:00:04.250000+00:00")


def test_a_death_says_why_with_the_traceback(lines: Lines) -> None:
    logs.observe(EVENTS["job.dead"])
    (line,) = lines()
    assert line["reason"] == "exhausted"
    assert line["exception"] == "Traceback: …\nOSError"


def test_enqueueing_logs_info_in_a_request_and_debug_elsewhere() -> None:
    stream = configured(log_level="INFO")
    logs.observe(EVENTS["job.enqueued"])
    assert stream.getvalue() == ""
    with Flask("web").test_request_context():
        logs.observe(EVENTS["job.enqueued"])
    assert json.loads(stream.getvalue())["event"] == "job.enqueued"


def test_what_a_task_logs_carries_its_job(lines: Lines) -> None:
    token = current_job.set(JOB)
    try:
        logging.getLogger("shop").warning("%s left", 3, extra={"order": 5})
        structlog.get_logger("shop").info("packed", order=5)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", stacklevel=1)
    finally:
        current_job.reset(token)
    logging.getLogger("shop").info("after")
    plain, structured, warned, after = lines()
    for line in (plain, structured, warned):
        assert logs.job_fields(JOB).items() <= line.items()
    assert (plain["event"], plain["order"], structured["event"]) == ("3 left", 5, "packed")
    assert "old" in warned["event"]
    assert "job_id" not in after


def test_no_password_is_written(lines: Lines) -> None:
    url = "redis://user:hunter2@cache.example:6379/0"
    log = logging.getLogger("shop")
    log.info("connected to %s", url, extra={"url": url, "nested": {"urls": [url]}})
    structlog.get_logger().info(url, exc=ConnectionError(url))
    try:
        raise ConnectionError(url)
    except ConnectionError:
        log.exception("failed")
    logs.observe(JobDied(JOB, AT, "w", None, Failure("E", url, f"Traceback\nE: {url}"), Reason.EXHAUSTED))
    logs.observe(JobReturned(JOB, AT, "w", url))
    text = json.dumps(lines())
    assert "hunter2" not in text
    assert text.count("redis://user:***@cache.example") >= 8
    assert "mail to bob@example.com from http://host:80 now" in _logged(
        "mail to bob@example.com from http://host:80 now"
    )


def _logged(text: str) -> str:
    stream = configured()
    logging.getLogger("shop").info(text)
    return str(json.loads(stream.getvalue())["event"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("celery.worker.strategy", trace.LOG_RECEIVED),
        ("celery.app.trace", trace.LOG_SUCCESS),
        ("celery.app.trace", trace.LOG_RETRY),
        ("celery.app.trace", trace.LOG_FAILURE.strip()),
        ("celery.app.trace", trace.LOG_REJECTED.strip()),
    ],
)
def test_celery_s_duplicate_lines_are_dropped_and_its_errors_are_not(
    lines: Lines, name: str, text: str
) -> None:
    fields = {"name": "x", "id": "y", "exc": "z", "runtime": 1, "return_value": "r", "description": "raised"}
    logging.getLogger(name).info(text, fields)
    assert lines() == []
    logging.getLogger(name).error(text, {**fields, "internal": True})
    logging.getLogger(name).info("something else")
    assert len(lines()) == 2


def test_celerys_lines_about_a_job_carry_its_id(lines: Lines) -> None:
    logging.getLogger("celery.worker.request").warning(
        "Soft time limit (%ss) exceeded for %s[%s]", 3, "a.b", JOB.job_id
    )
    (line,) = lines()
    assert (line["job_id"], line["task"]) == (JOB.job_id, "a.b")


def test_a_terminal_shows_a_sentence() -> None:
    stream = configured(log_format="console")
    logs.observe(EVENTS["job.retrying"])
    logs.observe(EVENTS["job.dead"])
    retry, dead, *traceback = stream.getvalue().splitlines()
    assert (
        "[warning] job.retrying attempt 2 of 6 failed with OSError: refused; next attempt in 4.2 s" in retry
    )
    assert f"job_id={JOB.job_id}" in retry
    assert "job.dead buried as a dead letter (exhausted)" in dead
    assert traceback == ["    Traceback: …", "    OSError"]
    assert "\x1b" not in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_json"), [(Terminal(), False), (io.StringIO(), True)])
def test_the_format_follows_the_output(stream: io.StringIO, is_json: bool) -> None:
    logs.configure(Settings(log_format="auto"), stream=stream)
    logging.getLogger("shop").warning("hello")
    assert stream.getvalue().startswith("{") is is_json
    assert "hello" in stream.getvalue()


def test_lines_elsewhere_are_readable_without_our_configuration(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        logs.observe(EVENTS["job.succeeded"])
    assert f"job.succeeded: in 1.500 s job_id={JOB.job_id} task=mail.send attempt=2" in caplog.text


# the request's id


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:

        @made.app.get("/whoami")
        def whoami() -> Any:
            return jsonify(first=request_id(), second=request_id())

        yield made


@pytest.mark.parametrize("given", ["abc-123", "~" * 128])
def test_a_request_keeps_the_id_it_was_given(ops: Ops, given: str) -> None:
    answer = ops.get("/whoami", X_Request_ID=given)
    assert answer.json == {"first": given, "second": given}
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "a\tb"])
def test_a_request_with_a_bad_id_or_none_gets_one(ops: Ops, given: str) -> None:
    answer = ops.get("/whoami", X_Request_ID=given)
    made = answer.headers["X-Request-ID"]
    assert made not in ("", given)
    assert answer.json == {"first": made, "second": made}


def test_requests_inside_one_app_context_have_ids_of_their_own(ops: Ops) -> None:
    with ops.app.app_context():
        assert ops.get("/whoami", X_Request_ID="one").json["first"] == "one"
        assert ops.get("/whoami", X_Request_ID="two").json["first"] == "two"
        assert request_id() is None


# all together


def test_one_job_is_followed_through_web_worker_retry_death_and_replay(
    valkey: Valkey, tmp_path: Path
) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="logsapp") as system:
        web = system.web()
        worker = system.worker("--concurrency", "1")
        assert system.http is not None
        answer = system.http.post("/enqueue", headers={"X-Request-ID": "req-77"})
        job_id = answer.json()["id"]
        assert answer.headers["X-Request-ID"] == "req-77"
        system.until(system.archived, 30, "it did not die")
        (letter,) = system.dead()

        assert web.lines("about to enqueue", request_id="req-77")
        (enqueued,) = web.lines("job.enqueued", job_id=job_id)
        assert enqueued["request_id"] == "req-77"
        fields = {"job_id": job_id, "task": "logs.fails", "queue": "talk", "request_id": "req-77"}
        for attempt in (1, 2):
            said = ["job.started", "through logging", "through structlog", "through print"]
            for event in said:
                assert len(worker.lines(event, **fields, attempt=attempt)) == 1, f"{event}\n{worker.log}"
        (retry,) = worker.lines("job.retrying", **fields, attempt=1)
        assert 0 < retry["runtime"] < 5
        assert len(worker.lines("job.dead", **fields, attempt=2, reason="exhausted")) == 1

        Path(f"{system.ledger}.mended").touch()
        system.cli("dead", "replay", letter["id"])
        system.until(
            lambda: worker.lines("job.succeeded", **fields, attempt=1), 20, "the replay did not succeed"
        )
        everything = web.log + worker.log
        assert "hunter2" not in everything
        grepped = [json.loads(line)["event"] for line in worker.log.splitlines() if job_id in line]
        assert [e for e in grepped if e.startswith("job.")] == [
            "job.started", "job.retrying", "job.started", "job.dead", "job.started", "job.succeeded",
        ]  # fmt: skip
