"""No argument that NIGHTSHIFT_REDACT hides is shown anywhere, and workers and replays get it all the same."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from flask import Flask
from kombu import Connection
from sqlalchemy import select

import keepapp
from flask_nightshift import journal
from flask_nightshift.cli import jobs as jobs_command
from flask_nightshift.options.call import UnencodableArgument
from flask_nightshift.services import current
from flask_nightshift.store import tables
from monitor import Monitor
from system import System, running

SECRET = "hunter2"
PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]


class Site:
    """A worker, and an app in this process that enqueues."""

    def __init__(self, system: System, app: Flask, monitor: Monitor) -> None:
        self.system, self.app, self.monitor = system, app, monitor
        self.services = current(app)

    def state(self, job_id: str) -> str | None:
        found = journal.find_job(self.services.store, job_id)
        return found.state if found else None

    def until(self, job_id: str, state: str) -> None:
        self.system.until(lambda: self.state(job_id) == state, 30, f"{job_id} is not {state}")

    def flask(self, *words: str) -> str:
        done = self.app.test_cli_runner().invoke(jobs_command, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    def rows(self, table: Any, *without: str) -> str:
        columns = [column for column in table.c if column.name not in without]
        with self.services.store.read() as connection:
            return repr(connection.execute(select(*columns)).all())

    def publish_as_others_do(self, *args: Any, **kwargs: Any) -> str:
        """A job of a producer without Nightshift."""
        stranger = Celery("stranger", broker=self.system.env["NIGHTSHIFT_BROKER_URL"], set_as_current=False)
        message = stranger.amqp.as_task_v2(str(uuid.uuid4()), "keep.login", args, kwargs)
        assert SECRET in message.headers["argsrepr"] + message.headers["kwargsrepr"]
        with Connection(self.system.env["NIGHTSHIFT_BROKER_URL"]) as connection:
            connection.Producer(serializer="json").publish(
                message.body, exchange="", routing_key="keep", headers=message.headers, **message.properties
            )
        stranger.close()
        return str(message.headers["id"])


@pytest.fixture(params=PLACES, ids="-".join)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    broker, database_url = request.getfixturevalue(request.param[0]), f"sqlite:///{tmp_path}/history.sqlite3"
    if request.param[1] == "postgres":
        database_url = request.getfixturevalue("postgres").fresh_url()
    url = broker.fresh_url()
    with ExitStack() as stack:
        more = {"FLASK_APP": "keepapp", "NIGHTSHIFT_DATABASE_URL": database_url}
        system = stack.enter_context(running(tmp_path, url, **more))
        for name in ("LEDGER", "INSTANCE"):
            monkeypatch.setenv(name, system.env[name])
        app = keepapp.create_app(NIGHTSHIFT_BROKER_URL=url, NIGHTSHIFT_DATABASE_URL=database_url)
        stack.callback(keepapp.jobs.close, app)
        system.worker("-E", "--concurrency", "2")
        monitor = Monitor(url)
        stack.callback(monitor.close)
        with app.app_context():
            yield Site(system, app, monitor)


def test_secret_arguments_are_shown_nowhere(site: Site) -> None:
    login = keepapp.login
    waits = login.delay("wait-1", SECRET).id
    ordinary = login.delay("ok-1", SECRET).id
    by_name = login.delay("ok-2", password=SECRET, profile={"Api-Key": SECRET, "n": [{"cookies": SECRET}]}).id
    (bulk,) = login.enqueue_many([("ok-3", SECRET)])
    by_celery = login.apply_async(("ok-4", SECRET), compression="zlib").id
    own = login.apply_async(("ok-5", SECRET), argsrepr="(mine)").id
    flaky = login.delay("flaky-1", SECRET).id
    dead = login.delay("dead-1", SECRET).id
    foreign = site.publish_as_others_do("dead-2", SECRET, profile={"token": SECRET})
    with pytest.raises(UnencodableArgument) as unencodable:
        login.delay("ok-6", {"key": SECRET, "value": object()})
    with pytest.raises(TypeError, match="item 0") as item:
        login.enqueue_many([{"password": SECRET, "unknown": 1}])

    site.until(waits, "running")
    inspected = site.services.celery.control.inspect(timeout=3).active()
    Path(f"{site.system.ledger}.go").touch()
    for job_id in (waits, ordinary, by_name, bulk, by_celery, own, flaky):
        site.until(job_id, "succeeded")
    for job_id in (dead, foreign):
        site.until(job_id, "dead")
    site.services.journal.flush(10)
    site.system.until(lambda: len(site.system.dead()) == 2, 20, "the dead letters are not archived")
    letters = json.loads(site.flask("dead", "list", "--json"))

    seen = {
        "errors": f"{unencodable.value} {item.value}",
        "inspect": json.dumps(inspected),
        "events": json.dumps(site.monitor.events),
        "log": "".join(process.log for process in site.system.processes),
        "jobs": site.rows(tables.jobs),
        "attempts": site.rows(tables.attempts),
        "dead letters": site.rows(tables.dead_letters, "body"),
        "listed": json.dumps(letters),
        "shown": "".join(site.flask("show", job_id, "--json") for job_id in (ordinary, dead, foreign)),
        "letters": "".join(
            site.flask("dead", "show", each, *more) for each in (dead, foreign) for more in ([], ["--json"])
        ),
    }
    assert {where for where, text in seen.items() if SECRET in text} == set()

    def shown(job_id: str) -> tuple[str | None, str | None]:
        found = journal.find_job(site.services.store, job_id)
        assert found is not None
        return found.args, found.kwargs

    assert shown(ordinary) == ("('ok-1', '***')", "{}")
    assert shown(bulk) == ("('ok-3', '***')", "{}")
    profile = "{'Api-Key': '***', 'n': [{'cookies': '***'}]}"
    assert shown(by_name) == ("('ok-2',)", f"{{'password': '***', 'profile': {profile}}}")
    assert shown(by_celery) == ("('ok-4', '***')", "{}")
    assert shown(own)[0] == "(mine)"
    assert shown(foreign) == ("('dead-2', '***')", "{'profile': {'token': '***'}}")
    (active,) = [job for jobs in inspected.values() for job in jobs if job["id"] == waits]
    assert active["args"] == ["wait-1", "***"]
    received = {event["uuid"]: event for event in site.monitor.events if event["type"] == "task-received"}
    assert received[ordinary]["args"] == "('ok-1', '***')"
    assert received[foreign]["args"] == "('dead-2', '***')"
    assert {letter["args"] for letter in letters} == {'["dead-1", "***"]', '["dead-2", "***"]'}

    # what runs, and runs again, has all of it
    site.flask("dead", "replay", dead, foreign)
    site.system.until(lambda: len(site.system.events("dead-2")) == 2, 20, "not replayed")
    for what in ("ok-1", "ok-2", "ok-3", "ok-4", "flaky-1", "dead-1", "dead-2"):
        assert set(site.system.events(what)) == {f"got {len(SECRET)}"}, what
