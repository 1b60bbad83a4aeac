"""The documentation is true: its code runs, and the reference matches the source."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_nightshift import ConfigurationError
from flask_nightshift.cli import jobs as jobs_command

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text())


@pytest.fixture
def app_env(valkey: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIGHTSHIFT_BROKER_URL", valkey.fresh_url())
    monkeypatch.setenv("NIGHTSHIFT_DATABASE_URL", f"sqlite:///{tmp_path}/history.sqlite3")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_tutorials_app_enqueues(app_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, app_code, schedule = blocks("docs/tutorial.md")
    (app_env / "tasks.py").write_text(tasks)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    module: dict[str, Any] = {"__name__": "app"}
    exec(app_code, module)
    app: Flask = module["create_app"]()
    app.extensions["nightshift"].store.migrate()
    client = app.test_client()
    answer = client.post("/signup", json={"email": "ada@example.org"})
    assert answer.status_code == 202
    job_id = answer.get_json()["job"]
    assert app.extensions["nightshift"].broker.depths(["celery"])[0].ready == 1
    app.extensions["nightshift"].journal.flush(5)
    assert client.get(f"/jobs/{job_id}").get_json()["state"] == "queued"

    exec(schedule, {"app": app})
    other = Flask("other")
    other.config.update(app.config)
    module["jobs"].init_app(other)
    celery = other.extensions["celery"]
    entries = celery.conf.beat_schedule
    assert {"nightly", "hello"} <= set(entries)
    assert {entry["task"] for entry in entries.values()} <= set(celery.tasks), (
        "it names tasks that do not exist"
    )


def test_the_tutorials_app_says_that_the_history_is_unavailable(
    app_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, app_code, _ = blocks("docs/tutorial.md")
    (app_env / "tasks.py").write_text(tasks)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    module: dict[str, Any] = {"__name__": "app"}
    exec(app_code, module)
    app: Flask = module["create_app"]()  # not migrated
    assert app.test_client().get("/jobs/unknown").status_code == 503


def test_a_schedule_that_cannot_be_read_is_refused(app_env: Path) -> None:
    from flask_nightshift import Nightshift

    app = Flask("refused")
    app.config["NIGHTSHIFT_SCHEDULE"] = {"bad": {"task": "x", "schedule": "every now and then"}}
    with pytest.raises(
        ConfigurationError, match=r"NIGHTSHIFT_SCHEDULE\['bad'\].*every now and then.*crontab"
    ):
        Nightshift(app)


def test_the_readmes_example_makes_an_app(app_env: Path) -> None:
    (example,) = blocks("README.md")
    module: dict[str, Any] = {"__name__": "readme"}
    exec(example, module)
    app = module["create_app"]()
    task = app.extensions["celery"].tasks["mail.send_welcome"]
    assert (task.job_queue, task.max_retries, task.time_limit) == ("mail", 5, 30)


def test_a_task_can_be_called_as_a_function(app_env: Path) -> None:
    (example,) = blocks("docs/how-to/run.md")
    exec(example, {"__name__": "example"})


def test_the_reference_names_every_command() -> None:
    reference = (ROOT / "docs/reference.md").read_text()
    assert set(re.findall(r"^\| `flask jobs ([\w-]+)`", reference, re.MULTILINE)) == set(
        jobs_command.commands
    )
