"""The documentation is true: its code runs."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from celery import Celery
from flask import Flask
from sqlalchemy.orm import Session

from command_tree import below
from flask_nightshift import ConfigurationError, DuplicateJob, Nightshift
from flask_nightshift.cli import jobs as jobs_command
from flask_nightshift.config.settings import load
from flask_nightshift.testing import in_memory
from flask_nightshift.transport import Transport
from opsapp import opened

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
    tasks, app_code, schedule, _ = blocks("docs/tutorial.md")
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
    tasks, app_code, *_ = blocks("docs/tutorial.md")
    (app_env / "tasks.py").write_text(tasks)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    module: dict[str, Any] = {"__name__": "app"}
    exec(app_code, module)
    app: Flask = module["create_app"]()  # not migrated
    assert app.test_client().get("/jobs/unknown").status_code == 503


def test_the_tutorials_job_does_not_outrun_its_transaction(
    app_env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, _, _, app_code = blocks("docs/tutorial.md")
    (app_env / "tasks.py").write_text(tasks)
    (app_env / "outbox_app.py").write_text(app_code)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    monkeypatch.delitem(sys.modules, "outbox_app", raising=False)
    app: Flask = importlib.import_module("outbox_app").create_app()
    services = app.extensions["nightshift"]
    for store in services.outboxes:
        store.migrate()
    client = app.test_client()
    address = {"email": f"{uuid.uuid4().hex}@example.org"}
    assert client.post("/signup", json=address).status_code == 202
    assert client.post("/signup", json=address).status_code == 500  # the address is taken
    assert services.broker.depths(["celery"])[0].ready == 1


def test_the_example_of_a_transaction(app_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = blocks("docs/how-to/transactions.md")
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", f"sqlite:///{app_env}/app.sqlite3")
    (app_env / "orders_app.py").write_text(example)
    monkeypatch.delitem(sys.modules, "orders_app", raising=False)
    module = importlib.import_module("orders_app")
    app: Flask = module.create_app()
    with app.app_context():
        module.db.create_all()
    services = app.extensions["nightshift"]
    for store in services.outboxes:
        store.migrate()
    assert app.test_client().post("/orders/lamp").status_code == 202
    assert services.broker.depths(["celery"])[0].ready == 1


def test_the_examples_of_work_that_is_done_once(app_env: Path) -> None:
    tasks, key, block = blocks("docs/how-to/once.md")
    module: dict[str, Any] = {"__name__": "once"}
    exec(tasks + key + block, module)
    app = Flask("once")
    module["jobs"].init_app(app)
    services = app.extensions["nightshift"]
    services.store.migrate()
    with app.app_context():
        first = module["reindex"].delay(7)
        assert module["reindex"].delay(7).id == first.id
        assert module["reindex"].delay(8).id != first.id
        module["build_report"].delay(1, layout="wide")
        with pytest.raises(DuplicateJob):
            module["build_report"].delay(1, layout="narrow")
        with services.store.begin() as connection:
            module["pay_out"](3, Session(bind=connection, join_transaction_mode="create_savepoint"))


def test_the_example_of_progress(app_env: Path) -> None:
    (progress,) = blocks("docs/how-to/why-is-it-waiting.md")
    module: dict[str, Any] = {"__name__": "progress"}
    exec(progress, module)
    app = Flask("progress")
    module["jobs"].init_app(app)
    services = app.extensions["nightshift"]
    services.store.migrate()
    with app.app_context():
        module["import_rows"](["a"])
        assert module["import_stock"].apply([["a", "b"]]).successful()


def test_the_example_of_a_schedule(app_env: Path) -> None:
    from flask_nightshift import Nightshift

    (example,) = blocks("docs/how-to/schedules.md")
    module: dict[str, Any] = {}
    exec(example, module)
    app = Flask("schedules")
    app.config["NIGHTSHIFT_SCHEDULE"] = module["NIGHTSHIFT_SCHEDULE"]
    Nightshift(app)
    entries = app.extensions["celery"].conf.beat_schedule
    assert str(entries["digest"]["timezone"]) == "Europe/Berlin"
    assert entries["invoice"]["catch_up"] == "all"
    app.extensions["nightshift"].store.migrate()
    listed = app.test_cli_runner().invoke(jobs_command, ["schedule", "list"], env={"COLUMNS": "140"})
    assert "at 03:30 every day, Europe/Berlin" in listed.stdout


def test_the_commands_of_a_pause(app_env: Path) -> None:
    from flask_nightshift import Nightshift

    app = Flask("paused")
    app.config["NIGHTSHIFT_QUEUES"] = ["mail"]
    Nightshift(app)
    app.extensions["nightshift"].store.migrate()
    page = (ROOT / "docs/how-to/pause.md").read_text()
    (session,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    said = re.compile(r"since .* by [^:]+")
    for call, answer in re.findall(r"^\$ flask jobs (.*)\n(.*)$", session, re.MULTILINE):
        done = app.test_cli_runner().invoke(jobs_command, shlex.split(call))
        assert done.exit_code == 0, done.output
        assert said.sub("since", done.output.strip()) == said.sub("since", answer)
    for command in re.findall(r"`flask jobs (.*?)`", page):
        assert shlex.split(command)[0] in below(jobs_command)


RUNBOOKS = [f"runbooks/{path.name}" for path in sorted((ROOT / "docs/runbooks").glob("*.md"))]


@pytest.mark.parametrize("page", ["how-to/audit.md", "how-to/bulk.md", *RUNBOOKS])
def test_the_commands_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    calls = re.findall(r"(?:^\$ |`)flask jobs ([^`\n]*)", text, re.MULTILINE)
    assert len(calls) > 1
    for call in calls:
        command: Any = jobs_command
        words = shlex.split(call.replace("…", ""))
        while words and isinstance(command, click.Group):
            command = below(command)[words.pop(0)]
        known = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known, call


def test_the_examples_of_cancelling(app_env: Path) -> None:
    running, expiring = blocks("docs/how-to/cancel.md")
    module: dict[str, Any] = {"__name__": "cancelling"}
    exec(running + expiring, module)
    app = Flask("cancelling")
    module["jobs"].init_app(app)
    with app.app_context():
        assert module["import_catalog"](["a", "bc"]) == 3
        module["notify_later"](7)
    assert app.extensions["nightshift"].broker.depths(["celery"])[0].ready == 1


def test_the_examples_of_the_http_api(app_env: Path) -> None:
    import httpx

    ask, act, change = blocks("docs/how-to/http-api.md")
    module: dict[str, Any] = {}
    exec(ask + act + change, module)
    with opened(app_env, "memory://", TESTING=True) as ops:
        made = ops.run("token", "create", "ci", "--scope", "view,view_args,replay,edit,run")
        ops.bury()
        ops.flush()
        api = module["client"]("http://localhost", made.stdout.strip())
        api._transport = httpx.WSGITransport(app=ops.app)
        assert [job["state"] for job in module["jobs"](api, "state:dead task:mail.*")] == ["dead"]
        assert len(module["replay"](api, "mail.send", "fixed")["ids"]) == 1
        assert module["replay"](api, "mail.send", "fixed") == {"ids": []}
        assert len(module["correct"](api, ops.bury(), 0, 8)["ids"]) == 1
        run = [module["run_now"](api, "nightshift.prune", "a key") for _ in range(2)]
        assert run[0] == run[1]


def test_the_page_of_the_assistant_names_tools_and_permissions_that_exist() -> None:
    from flask_nightshift.assistant.tools import tools
    from flask_nightshift.domain.actor import PERMISSIONS

    page = (ROOT / "docs/how-to/mcp.md").read_text()
    (sees,) = re.findall(r"The tools are (.*?) and more", page, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sees)) <= set(tools(()))
    (may,) = re.findall(r"^`replay`, .*? are the", page, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", may)) == set(PERMISSIONS) - {"view", "view_args", "edit"}


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


def test_the_settings_of_the_history(app_env: Path) -> None:
    from flask_nightshift import Nightshift

    app = Flask("history")
    for example in blocks("docs/how-to/database.md"):
        exec(example, {"app": app})
    Nightshift(app)
    settings = app.extensions["nightshift"].settings
    assert (settings.keep_jobs_days["succeeded"], settings.keep_jobs_days["cancelled"]) == (1, 7)
    assert "iban" in settings.redact


def test_the_settings_for_redis_cluster(app_env: Path) -> None:
    app = Flask("cluster")
    for example in blocks("docs/how-to/redis-cluster.md"):
        exec(example, {"app": app})
    settings = load(app)
    assert settings.broker_url.startswith("redis+cluster://")
    assert settings.celery["broker_transport_options"] == {"global_keyprefix": "shop"}


def test_the_example_of_tags(app_env: Path) -> None:
    (example,) = blocks("docs/how-to/find-a-job.md")
    module: dict[str, Any] = {"__name__": "tags"}
    exec(example, module)
    app = Flask("tags")
    module["jobs"].init_app(app)
    services = app.extensions["nightshift"]
    services.store.migrate()
    with app.app_context():
        module["order_report"](7)
    services.journal.flush(5)
    for tag in ("reports", "customer:7"):
        listed = app.test_cli_runner().invoke(jobs_command, ["list", "--tag", tag], env={"COLUMNS": "140"})
        assert "report.build" in listed.stdout


def test_plain_celery_uses_the_transport(app_env: Path) -> None:
    (example,) = blocks("docs/transport.md")
    app = Celery(broker=os.environ["NIGHTSHIFT_BROKER_URL"])
    exec(example, {"app": app})
    app.send_task("plain")
    with app.connection_for_read() as connection:
        assert isinstance(connection.transport, Transport)
        assert connection.default_channel.client.llen("celery") == 1


def test_the_fixture_for_celerys_workers(app_env: Path) -> None:
    from flask_nightshift import Nightshift

    (example,) = blocks("docs/reference.md")
    made = Flask("made")
    Nightshift(made)
    module: dict[str, Any] = {"pytest": pytest, "create_app": lambda: made}
    exec(example, module)
    assert module["celery_app"].__wrapped__() is made.extensions["celery"]
    assert module["ping"].name == "celery.ping"


def test_a_task_can_be_called_as_a_function(app_env: Path) -> None:
    (example,) = blocks("docs/how-to/run.md")
    exec(example, {"__name__": "example"})


def test_the_examples_of_the_dashboard(app_env: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users, proxy, links = blocks("docs/how-to/dashboard.md")
    module: dict[str, Any] = {"__name__": "dashboard"}
    exec(users + proxy, module)
    app: Flask = module["create_app"]()
    app.extensions["nightshift"].store.migrate()
    client = app.test_client()
    assert client.get("/nightshift/").status_code == 403
    with client.session_transaction() as session:
        session["email"] = "ada@example.org"
    assert "ada@example.org" in client.get("/nightshift/").text

    app = Flask("proxy")
    exec(links, {"app": app})
    app.config.update(SECRET_KEY="a", NIGHTSHIFT_DASHBOARD_AUTH=module["who_the_proxy_says"])
    module["Nightshift"](app)
    answer = app.test_client().get("/nightshift/", headers={"X-Forwarded-Email": "eve@example.org"})
    assert "eve@example.org" in answer.text


def test_the_examples_of_traces(app_env: Path) -> None:
    create_app, mode, providers, sentry = blocks("docs/how-to/traces.md")
    code = "\n".join(
        [
            create_app,
            "app = create_app()",
            "@jobs.task(name='task')\ndef task():\n    pass",
            "with app.app_context():\n    task.delay()",
            "otel.uninstrument(app)",
            mode,
            "otel.uninstrument(app)",
            providers,
            "with app.app_context():\n    task.delay()",
            "otel.uninstrument(app)",  # it exports what is left
            sentry,
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"name": "send celery"') == 1
    assert '"service.name": "shop"' in done.stdout


def test_the_example_of_a_notice(app_env: Path) -> None:
    (example,) = blocks("docs/how-to/dead-letters.md")
    posted: list[dict[str, str]] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        jobs, app = Nightshift(), Flask("chat", instance_path=str(app_env))
        app.config["CHAT_WEBHOOK"] = f"http://127.0.0.1:{server.server_port}/"
        exec(example, {"jobs": jobs})
        jobs.init_app(app)
        refuse = jobs.task(_refuse, name="mail.send", queue="mail", max_retries=0)
        with in_memory(app) as kit, app.app_context():
            refuse.delay()
            kit.drain(raise_errors=False)
        server.shutdown()
    (told,) = posted
    assert told["text"].endswith("died in the queue mail after 1 attempt (exhausted): OSError: refused")


def _refuse() -> None:
    raise OSError("refused")


def test_the_examples_for_those_who_come_from_rq(app_env: Path) -> None:
    declare, call = blocks("docs/how-to/from-rq.md")
    module: dict[str, Any] = {"__name__": "from_rq"}
    exec(declare, module)
    app: Flask = module["create_app"]()
    with app.app_context():
        exec(call, module)
    (mail,) = app.extensions["nightshift"].broker.depths(["mail"])
    assert (mail.ready, mail.delayed) == (1, 1)
