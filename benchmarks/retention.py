"""``python -m benchmarks.retention``: for how long retention keeps SQLite from everybody else.

It fills a history with ``ROWS`` (1,000,000) finished jobs that are all too old, and lets retention delete them while a
second process writes one row at a time, as a worker's journal does. It prints for how long the lock kept those writes
waiting, in ms: the median, the 99th percentile and the longest; and the same without retention. The writer asks for
the lock every half millisecond, because SQLite's own way of waiting sleeps for up to 100 ms between two questions.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from flask_nightshift.domain.job import utcnow
from flask_nightshift.journal.old_jobs import prune_jobs
from flask_nightshift.journal.steps import Pace
from flask_nightshift.store import Store

from . import history

PAUSE = 0.002
"""Seconds between two writes of the second process."""
ASK = 0.0005
"""Seconds between two questions for the lock."""


def write(database: str, until: Path) -> None:
    """Write a row again and again until the file ``until`` exists, and print how long each write took, in ms."""
    connection = sqlite3.connect(database, timeout=0, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    while not until.exists():
        began = time.perf_counter()
        while not _locked(connection):
            time.sleep(ASK)
        connection.execute("UPDATE bench SET number = number + 1")
        connection.execute("COMMIT")
        print(f"{(time.perf_counter() - began) * 1e3:.2f}")
        time.sleep(PAUSE)


def _locked(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


def _told(name: str, output: str) -> None:
    waits = sorted(float(each) for each in output.split())
    print(
        f"{name}: {len(waits):,} writes, median {statistics.median(waits):.1f} ms, "
        f"p99 {waits[int(len(waits) * 0.99)]:.1f} ms, longest {waits[-1]:.1f} ms",
        flush=True,
    )


def main() -> None:
    """Measure what the environment names."""
    rows = int(os.environ.get("ROWS", "1000000"))
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as home:
        database = f"{home}/history.db"
        history.fill(f"sqlite:///{database}", rows)
        store = Store(f"sqlite:///{database}")
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE bench (id INTEGER PRIMARY KEY, number INTEGER)")
            connection.execute("INSERT INTO bench VALUES (1, 0)")
        connection.close()
        for name in ("without retention", "with retention"):
            until = Path(home) / name
            writer = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.retention", database, str(until)],
                stdout=subprocess.PIPE,
                text=True,
            )
            began = time.monotonic()
            if name == "with retention":
                deleted = prune_jobs(store, Pace(), utcnow() + timedelta(days=400), {"succeeded": 7.0})
                print(f"deleted {deleted} in {time.monotonic() - began:.1f} s", flush=True)
            else:
                time.sleep(10)
            until.touch()
            _told(name, writer.communicate()[0])
        store.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
