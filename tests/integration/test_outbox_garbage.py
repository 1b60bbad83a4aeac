"""An app that used the outbox and is garbage leaves no thread, connection or listener (invariant 15)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from places import SUPPORT

APPS = 5
PROGRAM = """
import gc, json, sqlite3, sys, tempfile, threading, weakref
import psutil
from pathlib import Path
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
sys.path.insert(0, sys.argv[1])
from outbox_shop import open_shop
from servers import wait_for

broker, database, count, folder = *sys.argv[2:4], int(sys.argv[4]), sys.argv[5]
engine, apps = create_engine(database), []  # a module's engine, and its session, live longer than any app
session = Session(engine)

def one_test(number):
    shop = open_shop(Path(folder), broker, database, migrated=number == 0,
                     NIGHTSHIFT_DATABASE_URL=f"sqlite:///{folder}/history.sqlite3")
    apps.append(weakref.ref(shop.app))
    before = shop.ready
    with shop.app.app_context():
        shop.send.delay_on_commit(1)
        shop.db.session.commit()
    with engine.begin() as connection:
        shop.send.apply_async_on_commit((2,), session=connection)
    shop.send.apply_async_on_commit((3,), session=session)
    session.commit()
    shop.settles(before + 3)

def is_open(connection):
    try:
        return connection.in_transaction is not None and connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False

def left():
    gc.collect()
    process = psutil.Process()
    names = ("commit", "commit_twophase", "rollback", "rollback_twophase", "rollback_savepoint")
    listeners = [getattr(engine.dispatch, name) for name in names]
    listeners += [session.dispatch.after_commit, session.dispatch.after_transaction_end]
    return {
        "threads": len([thread for thread in threading.enumerate() if "nightshift" in thread.name]),
        "connections": len(process.net_connections("all")),
        # SQLite keeps the descriptors of closed connections while another one has locks on the same file.
        "descriptors": process.num_fds() - sum(".sqlite3" in file.path for file in process.open_files()),
        "files": sum(isinstance(each, sqlite3.Connection) and is_open(each) for each in gc.get_objects()),
        "listeners": sum(map(len, listeners)),
        "apps": len([app for app in apps if app() is not None]),
    }

one_test(0)
before = left()  # Celery's default app is for ever
for number in range(1, count):
    one_test(number)
try:
    wait_for(lambda: all(now <= then + 2 for now, then in zip(left().values(), before.values())), 20, "more is left")
except TimeoutError:
    pass
print(json.dumps([before, left()]))
"""


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_apps_with_an_outbox_that_are_garbage_leave_nothing(
    request: pytest.FixtureRequest, valkey: object, database: str, tmp_path: Path
) -> None:
    url = request.getfixturevalue("valkey").fresh_url()
    place = f"sqlite:///{tmp_path}/app.sqlite3"
    if database == "postgres":
        place = request.getfixturevalue("postgres").fresh_url()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SUPPORT), url, place, str(APPS), str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert before["listeners"] == after["listeners"] == 7
    for what in ("threads", "connections", "descriptors", "files", "apps"):
        assert after[what] <= before[what] + 2, f"{APPS} apps left {what}: {before} {after}"
