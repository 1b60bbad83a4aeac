"""``python -m benchmarks.lists``: how long pages of ``flask jobs list`` take, and what their indexes cost.

It fills a history with ``ROWS`` (1,000,000) skewed jobs on each database: one task has nearly all of them, two workers
share them so that each works for one queue alone, but 3,000 containers with a name of their own run one in ten, and a
state, a task, a tag and an error have a handful, all old. Then it measures each page ``ROUNDS`` (20) times, warm, and
prints the median and the slowest in milliseconds. The last row is the processor time of the journal for a job, in
microseconds, written to that history in batches.

``DATABASE`` (sqlite,postgres), ``ROWS``, ``ROUNDS``, ``PLANS=1`` prints the plan of every query of a page, too.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event

from flask_nightshift.domain.events import JobEnqueued, JobStarted, JobSucceeded
from flask_nightshift.domain.job import JobRef
from flask_nightshift.journal import batch as batches
from flask_nightshift.journal.following import Open
from flask_nightshift.observe import job_counts
from flask_nightshift.observe import jobs as pages
from flask_nightshift.observe.jobs import Filters
from flask_nightshift.operations import ids
from flask_nightshift.store import Store
from flask_nightshift.store.kinds import kind_of
from flask_nightshift.store.tables import metadata

from .servers import real

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
WEEK = 7 * 86_400.0
BLOCK = 4096
BATCH = 4000
_JOBS = [column.name for column in metadata.tables["nightshift_jobs"].columns]
_KINDS = [column.name for column in metadata.tables["nightshift_kinds"].columns]
_TAGS = [column.name for column in metadata.tables["nightshift_tags"].columns]


def job_id(at: datetime, number: int) -> str:
    """A UUID in the layout of version 7."""
    value = (
        int(at.timestamp() * 1000) << 80 | 7 << 76 | (number * 0x9E3779B97F4A7C15 & (1 << 62) - 1) | 2 << 62
    )
    return str(uuid.UUID(int=value))


class History:
    """``rows`` jobs, evenly over a week before ``NOW``, oldest first."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.kinds: dict[int, tuple[Any, ...]] = {}
        self.tags: list[tuple[Any, ...]] = []

    def jobs(self) -> Iterator[tuple[Any, ...]]:
        for number in range(self._rows):
            yield self._job(number)

    def at(self, number: int) -> datetime:
        return NOW - timedelta(seconds=WEEK * (1 - number / self._rows))

    def _job(self, number: int) -> tuple[Any, ...]:
        old = number < self._rows // 10  # all that is rare is old
        rare, at = old and number % (self._rows // 50) == 3, self.at(number)
        task, half = ("report.yearly" if rare else "mail.send"), number % 2
        queue, worker = ("mail", "slow")[half], f"worker-{half}:{4000 + half}"
        if number % 10 == 1:
            worker = f"container-{number // 10 % 3000}:1"
        state, error = ("succeeded", None)
        if rare:
            state, error = "retrying", "shop.errors.TornPage"
        elif number % 100 == 7:
            state, error = "dead", "builtins.OSError"
        elif number >= self._rows - 1000:
            state, worker = "queued", ""
        meaning = state, task, queue, worker or None, error
        kind, key = kind_of(*meaning), job_id(at, number)
        self.kinds.setdefault(kind, (kind, *meaning, NOW))
        if number % 10 == 0 or rare:
            self.tags.append((key, "customer:7" if rare else "newsletter", kind, at))
        ended = at + timedelta(seconds=1.25)
        return (
            key, task, queue, state, 1 << 8 | 3, 0, 1, None, f"({number}, 'an argument of a usual length')", "{}", None,
            None, None, error, error and "it broke", at, at + timedelta(seconds=1), ended, None, worker or None,
            None, ended, kind, number // BLOCK,
        )  # fmt: skip


def fill(store: Store, history: History) -> None:
    """Write ``history``, as the journal would, in one transaction."""
    postgresql = store.engine.dialect.name == "postgresql"
    write = _copy if postgresql else _insert
    with store.begin(timeout=3600) as connection:
        driver = connection.connection.driver_connection
        write(driver, "nightshift_jobs", _JOBS, history.jobs())
        write(driver, "nightshift_kinds", _KINDS, iter(history.kinds.values()))
        write(driver, "nightshift_tags", _TAGS, iter(history.tags))
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE" if postgresql else "PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(driver: Any, table: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(columns))
    plain = (tuple(_plain(value) for value in row) for row in rows)
    driver.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", plain)


def _plain(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


def _copy(driver: Any, table: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def cases(rows: int) -> dict[str, Callable[[Store], Any]]:
    """What is measured, by its name in the table."""
    history = History(rows)
    middle, old = history.at(rows // 2), history.at(rows // 20)
    some = job_id(history.at(rows // 3), rows // 3)

    def listed(**conditions: Any) -> Callable[[Store], Any]:
        options = {name: conditions.pop(name) for name in ("after", "limit") if name in conditions}
        return lambda store: pages.page(store, Filters(**conditions), **options)

    def key(at: datetime) -> str:
        return f"{at.isoformat()},~"

    return {
        "no filter": listed(),
        "no filter, half way": listed(after=key(middle)),
        "limit 1000": listed(limit=1000),
        "state: nearly all": listed(state="succeeded"),
        "state: nearly all, half way": listed(state="succeeded", after=key(middle)),
        "state: the newest 1000": listed(state="queued"),
        "state: a handful, all old": listed(state="retrying"),
        "state: none": listed(state="running"),
        "task: nearly all": listed(task="mail.send"),
        "task: a handful, all old": listed(task="report.yearly"),
        "queue: half": listed(queue="slow"),
        "worker: half": listed(worker="worker-1:4001"),
        "worker and queue: half each, nothing in common": listed(worker="worker-1:4001", queue="mail"),
        "worker: one of 3000": listed(worker="container-7:1"),
        "queue and until: old, 3000 workers": listed(queue="slow", until=old),
        "task and state: nothing in common": listed(task="report.yearly", state="succeeded"),
        "error: one in a hundred": listed(error="OSError"),
        "error and queue: nothing in common": listed(error="OSError", queue="mail"),
        "tag: one in ten": listed(tag="newsletter"),
        "tag and task: nothing in common": listed(tag="newsletter", task="report.yearly"),
        "tag: a handful, all old": listed(tag="customer:7"),
        "since and until: an old hour": listed(since=old, until=old + timedelta(hours=1)),
        "state and until: old": listed(state="dead", until=old),
        "everything at once": listed(
            state="dead", task="mail.send", queue="slow", worker="worker-1:4001", error="OSError", since=old,
            until=middle,
        ),
        "search: found at once": listed(search="usual length"),
        "search: nowhere": listed(search="no such text"),
        "wildcard: nearly all": listed(task="mail.*"),
        "wildcard: a handful, all old": listed(task="*.yearly"),
        **_counts(middle, old),
        "id by its start": lambda store: ids.job_id(store, some[:30]),
        "id by its end": lambda store: ids.job_id(store, some[-8:]),
        "id that does not exist": _missing,
    }  # fmt: skip


def _counts(middle: datetime, old: datetime) -> dict[str, Callable[[Store], Any]]:
    hour = timedelta(hours=1)
    wanted: dict[str, Filters] = {
        "no filter": Filters(),
        "state: nearly all": Filters(state="succeeded"),
        "state: a handful, all old": Filters(state="retrying"),
        "state and since: nothing in common": Filters(state="retrying", since=middle),
        "task: nearly all, an old hour": Filters(task="mail.send", since=old, until=old + hour),
        "queue: half, until an old time": Filters(queue="slow", until=old),
        "wildcard: nearly all": Filters(task="mail.*"),
        "wildcard and since: nothing in common": Filters(task="*.yearly", since=middle),
        "workers: 3000": Filters(worker="container-*"),
        "workers: 3000, an old hour": Filters(worker="container-*", since=old, until=old + hour),
        "error, old": Filters(error="os", until=middle),
        "error and queue: nothing in common": Filters(error="os", queue="mail"),
        "tag: one in ten": Filters(tag="newsletter"),
        "tag and task: nothing in common": Filters(tag="newsletter", task="report.yearly"),
        "tag and since": Filters(tag="newsletter", since=old, until=old + hour),
        "an old hour": Filters(since=old, until=old + hour),
        "search: nowhere": Filters(search="no such text"),
        "search: found at once": Filters(search="usual length"),
    }

    def counted(filters: Filters) -> Callable[[Store], Any]:
        return lambda store: job_counts.count(store, filters)

    return {f"count, {name}": counted(filters) for name, filters in wanted.items()}


def _missing(store: Store) -> None:
    from flask_nightshift.errors import JobNotFound

    try:
        ids.job_id(store, "beef0000")
    except JobNotFound:
        return
    raise AssertionError


def journal_price(store: Store, rounds: int) -> list[float]:
    """Microseconds of processor time for each job, of batches of jobs enqueued by one process and run by another."""
    found = []
    for number in range(rounds):
        now = datetime.now(UTC)
        refs = [
            JobRef(job_id(now, number * BATCH + at), "mail.send", "mail", 1, None, now) for at in range(BATCH)
        ]
        enqueued = [JobEnqueued(ref, now, "(1, 'an argument of a usual length')", "{}") for ref in refs]
        ended = [
            event
            for ref in refs
            for event in (JobStarted(ref, now, "w:1", 0.0), JobSucceeded(ref, now, "w:1", 0.01))
        ]
        begun = time.process_time()
        for events in (enqueued, ended):
            batches.write(store, batches.Batch("j", "w:1", 1, len(events), Open().follow(events)))
        found.append((time.process_time() - begun) / BATCH * 1e6)
    return found


@contextmanager
def database(name: str) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        if name == "sqlite":
            store = Store(f"sqlite:///{folder}/history.sqlite3")
            store.migrate()
            yield store
            store.close()
            return
        server = real.Postgres()
        server.start()
        try:
            store = Store(server.fresh_url())
            store.migrate()
            yield store
            store.close()
        finally:
            server.close()


@contextmanager
def explained(store: Store) -> Iterator[None]:
    """Print the plan of each query."""
    prefix = (
        "EXPLAIN (ANALYZE, COSTS OFF)" if store.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    )

    def explain(*said: Any) -> None:
        _, cursor, statement, parameters, *_ = said
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            cursor.execute(f"{prefix} {statement}", parameters)
            print("   ", statement.replace("\n", " ")[:3000])
            for row in cursor.fetchall():
                print("       ", row[-1])

    event.listen(store.engine, "before_cursor_execute", explain)
    yield
    event.remove(store.engine, "before_cursor_execute", explain)


def main() -> None:
    rows, rounds = int(os.environ.get("ROWS", 1_000_000)), int(os.environ.get("ROUNDS", 20))
    names = os.environ.get("DATABASE", "sqlite,postgres").split(",")
    table: dict[str, list[str]] = {}
    for name in names:
        with database(name) as store:
            begun = time.perf_counter()
            fill(store, History(rows))
            print(f"{name}: {rows:,} jobs in {time.perf_counter() - begun:.0f} s", flush=True)
            for case, read in cases(rows).items():
                if os.environ.get("PLANS"):
                    print(case)
                    with explained(store):
                        read(store)
                took = [_milliseconds(read, store) for _ in range(rounds + 1)][1:]
                table.setdefault(case, []).append(f"{statistics.median(took):.1f} | {max(took):.1f}")
            price = journal_price(store, rounds)
            table.setdefault("journal, µs of processor time a job", []).append(
                f"{statistics.median(price):.1f} | {max(price):.1f}"
            )
    print(f"\n| {rows:,} jobs, milliseconds | " + " | ".join(f"{name} | slowest" for name in names) + " |")
    print("|---|" + "---:|---:|" * len(names))
    for case, found in table.items():
        print(f"| {case} | {' | '.join(found)} |")


def _milliseconds(read: Callable[[Store], Any], store: Store) -> float:
    begun = time.perf_counter()
    read(store)
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
