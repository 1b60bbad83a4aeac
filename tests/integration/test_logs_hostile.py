"""Logs against hostile text from jobs and partners: secrets, escape sequences, forged lines, surrogates."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
import structlog
from flask import Flask
from sqlalchemy import URL

from flask_nightshift import Nightshift, logs, services
from flask_nightshift.config import Settings
from flask_nightshift.domain.events import JobDied, JobRetrying
from flask_nightshift.domain.job import Failure, JobRef, Reason
from flask_nightshift.errors import ConfigurationError

JOB = JobRef("0198c7f2-5d7b-7000-8000-00000000abcd", "mail.send", "mail", 2, "req-42")
AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECRET = "s3cr/et"
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202eabc\u2028\r\n12:00:00 [info     ] job.succeeded forged\udc80"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def configured(form: Literal["json", "console"], encoding: str = "utf-8") -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    logs.configure(Settings(log_format=form), stream=stream)
    return stream


def written(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        f"redis://:{SECRET}@cache.example:6379/0",
        f"amqp://user:{SECRET}@one.example//;amqp://user:{SECRET}@two.example",
        f"no answer from redis://cache.example:6379/0?password={SECRET}&db=1",
        f"postgresql://user@server:{SECRET}@db.example/name",
        f"redis://user:{SECRET} {SECRET}@cache.example",
        f"redis://user:{SECRET}'{SECRET}\"{SECRET}@cache.example",
        f"redis://user:{SECRET}@1@cache.example",
        f"conninfo: host=db.example password='{SECRET} {SECRET}' user=shop",
        f"host=db.example password={SECRET} user=shop",
        f"{{'user': 'shop', 'password': '{SECRET}'}}",
        f"https://partner.example/hook?access_token={SECRET}",
    ],
)
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_log_line_contains_a_password(form: Literal["json", "console"], text: str) -> None:
    stream = configured(form)
    try:
        raise ConnectionError(text)
    except ConnectionError:
        logging.getLogger("shop").exception(
            "failed: %s", text, extra={"url": text, "settings": {"password": SECRET}}
        )
    failure = Failure("ConnectionError", text, f"Traceback:\n{text}")
    logs.observe(JobDied(JOB, AT, "worker@one", 0.5, failure, Reason.EXHAUSTED))
    assert "s3cr" not in written(stream)
    assert "***" in written(stream)


def test_text_without_a_password_is_unchanged() -> None:
    stream = configured("json")
    said = ["redis://localhost:6379, and mail bob@example.com", "http://[::1]:80/@x", "redis://h:6379/0?x=a@b",
            "password is required", "the PWD is /home"]  # fmt: skip
    for text in said:
        logging.getLogger("shop").warning(text)
    assert [json.loads(line)["event"] for line in written(stream).splitlines()] == said


@pytest.mark.parametrize(
    "text",
    [
        "a" * 60_000 + "://", "a.b+c-" * 10_000, "a://b:" * 10_000, "redis://user:" + "x" * 60_000,
        "://" + ":" * 60_000,
        "redis://u:" + "@ " * 30_000, "password='" + "\\x" * 30_000, "&a" * 30_000 + "=",
    ],
    ids=range(8),
)  # fmt: skip
def test_masking_a_long_text_takes_little_time(text: str) -> None:
    configured("json")
    began = time.process_time()
    logging.getLogger("shop").warning("%s", text)
    assert time.process_time() - began < 0.5


def test_a_url_of_sqlalchemys_keeps_its_password(tmp_path: Path) -> None:
    url = URL.create("postgresql+psycopg", "shop", "s3cret", "db.example", database="shop")
    app = Flask("urls", instance_path=str(tmp_path))
    app.config.update(NIGHTSHIFT_DATABASE_URL=url, NIGHTSHIFT_BROKER_URL="redis://127.0.0.1:1/0")
    Nightshift(app)
    assert services.current(app).settings.database_url == url.render_as_string(hide_password=False)


def test_a_refused_url_is_not_shown_with_its_password(tmp_path: Path) -> None:
    for value in (
        b"redis://:s3cret@h",
        "redis//user:s3c ret@h",
        "redis:/user:s3c ret@h",
        ["redis://:s3cret@h"],
    ):
        app = Flask("urls", instance_path=str(tmp_path))
        app.config.update(NIGHTSHIFT_BROKER_URL=value)
        with pytest.raises(ConfigurationError) as refused:
            Nightshift(app)
        assert "s3c" not in str(refused.value)


def attack() -> None:
    """Hostile text in every place of a line."""
    failure = Failure("OSError", HOSTILE, f"Traceback:\n  File x\nOSError: {HOSTILE}")
    job = JOB._replace(task=f"mail{HOSTILE}")
    logs.observe(JobDied(job, AT, "worker@one", 0.5, failure, Reason.EXHAUSTED))
    logs.observe(JobRetrying(job, AT, "worker@one", 0.5, failure, AT, 4.25, 5))
    logging.getLogger("shop").warning("%s", HOSTILE, extra={"file": HOSTILE, f"key{HOSTILE}": [HOSTILE]})
    try:
        raise OSError(HOSTILE)
    except OSError:
        logging.getLogger("shop").exception("failed")


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_job_s_text_drives_no_terminal_and_forges_no_line(
    form: Literal["json", "console"], encoding: str
) -> None:
    stream = configured(form, encoding)
    attack()
    out = written(stream)
    assert not set(out) & set("\x1b\x07\x9b\r\u202e\u2028\udc80")
    assert "forged" in out
    if form == "console":
        began = [line for line in out.splitlines() if not line.startswith("    ")]
        assert [line.split("] ")[1].split()[0][:12] for line in began] == [
            "job.dead", "job.retrying", "\\x1b[2J\\x1b]"[:12], "failed"]  # fmt: skip
    else:
        lines = [json.loads(line) for line in out.split("\n") if line]
        assert [line["event"] for line in lines] == ["job.dead", "job.retrying", HOSTILE, "failed"]
        assert lines[0]["error_message"] == lines[2]["file"] == HOSTILE, "JSON gives it back as it was"


def test_without_our_logging_an_event_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    failure = Failure("OSError", HOSTILE)
    with caplog.at_level(logging.INFO):
        logs.observe(JobDied(JOB, AT, "worker@one", 0.5, failure, Reason.EXHAUSTED))
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 1
    assert record.getMessage().isprintable()


def test_a_log_file_takes_every_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "worker.log"
    logs.configure(Settings(), logfile=str(file))
    attack()
    assert len(file.read_text("utf-8").splitlines()) == 4
    assert "Logging error" not in capsys.readouterr().err
