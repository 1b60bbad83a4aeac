"""A preloaded server with gevent: in a child, each greenlet's session keeps its jobs to itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from places import SUPPORT

PROGRAM = """
import os, sys, json
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from outbox_shop import open_shop
from sqlalchemy import text

broker, database, folder = sys.argv[2:]
shop = open_shop(Path(folder), broker, database)
with shop.app.app_context():  # as an app does that is preloaded
    shop.send.delay_on_commit(0)
    shop.db.session.commit()
    shop.settles(1)
    shop.db.session.remove()
    shop.db.engine.dispose()
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

from gevent import monkey
monkey.patch_all()  # gunicorn's worker patches after the fork
import gevent
kept = []

def request(number):
    with shop.app.app_context():
        session = shop.db.session
        gevent.sleep(0.001 * (number % 3))
        if shop.db.engine.dialect.name == "postgresql":
            session.execute(text("SELECT pg_sleep(0.02)"))  # others run
        first = shop.send.delay_on_commit(number).id
        if shop.db.engine.dialect.name == "postgresql":
            gevent.sleep(0.001 * (number % 5))  # on SQLite others would wait for this one's lock
        second = shop.send.delay_on_commit(number).id
        if number % 2:
            session.commit()
            kept.extend([first, second])
        elif number % 4:
            session.rollback()

greenlets = [gevent.spawn(request, number) for number in range(24)]
gevent.joinall(greenlets, raise_error=True)
shop.settles(25)
assert shop.services.journal.flush()
with shop.services.store.read() as connection:
    ids = connection.execute(text("SELECT id FROM nightshift_jobs")).scalars().all()
print(json.dumps([sorted(kept), sorted(ids)]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_sessions_of_greenlets_do_not_mix_their_jobs(
    request: pytest.FixtureRequest, valkey: Any, database: str, tmp_path: Path
) -> None:
    place = f"sqlite:///{tmp_path}/app.sqlite3"
    if database == "postgres":
        place = request.getfixturevalue("postgres").fresh_url()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SUPPORT), valkey.fresh_url(), place, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    kept, known = json.loads(done.stdout.splitlines()[-1])
    assert len(kept) == 24
    assert set(kept) < set(known)
    assert len(known) == 25
