"""An app for each test: when it is collected as garbage, its threads, connections and descriptors close."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from places import SUPPORT

APPS = 40
PROGRAM = """
import gc, json, sys, tempfile, threading, weakref
import psutil
from flask import Flask
from flask_nightshift import Nightshift
sys.path.insert(0, sys.argv[1])
from servers import wait_for

broker, database, count, how = *sys.argv[2:4], int(sys.argv[4]), sys.argv[5]
jobs, apps = Nightshift(), []

@jobs.task(name="many.add", ignore_result=False)
def add(a, b):
    return a + b

def one_test(number):
    app = Flask("many", instance_path=tempfile.mkdtemp(dir=sys.argv[6]))
    app.config.update(NIGHTSHIFT_BROKER_URL=broker, NIGHTSHIFT_DATABASE_URL=database or f"sqlite:///{number}.sqlite3")
    jobs.init_app(app)
    apps.append(weakref.ref(app))
    with app.app_context(), app.test_client() as client:
        if number == 0 or not database:
            jobs.services.store.migrate()
        job = add.delay(1, 2)
        assert job.state == "PENDING"
        add.apply_async((1, 2), link=add.s(3))
        assert jobs.services.journal.flush()
        assert jobs.job(job.id).state == "queued"
        if number % 10 == 0:
            add.apply_async((1, 2), exchange="celery", routing_key="celery")
            client.get("/health/ready")
    if how == "close":
        jobs.close()

def left():
    gc.collect()
    process = psutil.Process()
    ours = [thread.name for thread in threading.enumerate() if "nightshift" in thread.name]
    alive = [app for app in apps if app() is not None]
    return len(ours), process.num_fds(), len(process.net_connections("all")), len(alive)

one_test(0)
if how == "garbage":
    before = left()  # Celery's default app is for ever
    for number in range(1, count):
        one_test(number)
else:
    gc.disable()
    before = wait_for(lambda: (found := left())[0] == 0 and found, 10, "threads are left")
    keep = []
    for number in range(1, count):
        one_test(number)
        keep.append(apps[-1]())
        wait_for(lambda: left()[0] == 0, 10, "threads are left")
try:
    wait_for(lambda: all(now <= then + 2 for now, then in zip(left()[:3], before)), 20, "more is left")
except TimeoutError:
    pass
print(json.dumps([before, left()]))
"""


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
@pytest.mark.parametrize("broker", ["redis_server", "rabbitmq"])
def test_apps_that_are_garbage_leave_nothing(
    request: pytest.FixtureRequest, broker: str, database: str, tmp_path: Path
) -> None:
    before, after = run(request, broker, database, APPS, "garbage", tmp_path)
    for what, then, now in zip(("threads", "descriptors", "connections"), before, after, strict=False):
        assert now <= then + 2, f"{APPS} apps left {now - then} {what}"
    assert after[3] <= 2


@pytest.mark.parametrize("broker", ["redis_server", "rabbitmq"])
def test_close_leaves_nothing_of_an_app_that_is_in_use(
    request: pytest.FixtureRequest, broker: str, tmp_path: Path
) -> None:
    before, after = run(request, broker, "sqlite", 5, "close", tmp_path)
    assert before[0] == after[0] == 0
    assert after[3] == 5
    assert after[1] <= before[1] + 2
    assert after[2] <= before[2] + 2


def run(request: Any, broker: str, database: str, count: int, how: str, folder: Path) -> Any:
    url = request.getfixturevalue(broker).fresh_url()
    database_url = request.getfixturevalue(database).fresh_url() if database != "sqlite" else ""
    tests = str(SUPPORT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, tests, url, database_url, str(count), how, str(folder)],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
