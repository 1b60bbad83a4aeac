"""``python -m benchmarks.history``: what a long history costs the worker that adds to it.

It drains short jobs with an empty history and with one of ``ROWS`` (1,000,000) finished jobs, in interleaved rounds,
and prints for each broker and database the medians of jobs per second and of the workers' processor time for each job,
and the medians of their ratios, round by round. ``flask jobs worker`` runs with nothing configured
but the URLs.
``ROUNDS`` (5), ``SERVER`` (redis,rabbitmq), ``DATABASE`` (sqlite,postgres).
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from flask_nightshift.domain.job import utcnow
from flask_nightshift.enqueue.ids import new_id
from flask_nightshift.journal import JobRow, write_jobs
from flask_nightshift.store import Store
from flask_nightshift.store.kinds import kind_of

from .orders import Producer
from .peers.nightshift import NightshiftPeer
from .servers import real, running
from .trial import Trial

DRAIN = frozenset({"drain"})
TASKS = ("mail.send", "image.scale", "report.make", "cart.close", "search.index")
BATCH = 5000


class WithHistory(NightshiftPeer):
    """Nightshift with its history in the database at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def environment(self, home: str) -> Mapping[str, str]:
        return {**super().environment(home), "NIGHTSHIFT_DATABASE_URL": self._url}


class Measured(Trial):
    """A trial that also takes the processor time of the workers for each job of the drain, in microseconds."""

    def _drain(self, producer: Producer, kind: str, job: str) -> float:
        done, used = self._done(), sum(tree.cpu() for tree in self.workers)
        rate = super()._drain(producer, kind, job)
        used = sum(tree.cpu() for tree in self.workers) - used
        self.figures.values["cpu"] = 1e6 * used / (self._done() - done)
        return rate


def fill(url: str, rows: int) -> None:
    """Create the tables, and ``rows`` jobs that have succeeded during the last days."""
    store = Store(url)
    store.migrate()
    made = _jobs(rows)
    while batch := list(itertools.islice(made, BATCH)):
        with store.begin(timeout=60) as connection:
            write_jobs(connection, batch)
    store.close()


def _jobs(rows: int) -> Iterator[JobRow]:
    now = utcnow()
    for number in range(rows):
        at = now - timedelta(seconds=(rows - number) * 0.5)
        task, worker = TASKS[number % len(TASKS)], f"worker@host{number % 4}"
        yield JobRow(
            id=new_id(),
            task=task,
            queue="celery",
            state="succeeded",
            place=1 << 8 | 3,
            run=0,
            attempts=1,
            args=f"({number},)",
            kwargs="{}",
            enqueued_at=at,
            started_at=at,
            finished_at=at,
            worker=worker,
            updated_at=at,
            kind=kind_of("succeeded", task, "celery", worker, None),
        )


def compare(
    site: Any, databases: Mapping[str, Callable[[], str]], folder: Path, rounds: int
) -> Iterator[tuple[str, float, float]]:
    """The name of a database, jobs per second and CPU time for each, for each database in each round."""
    guesses: dict[str, dict[str, float]] = {name: {} for name in databases}
    for number in range(rounds):
        for name in databases if number % 2 else reversed(list(databases)):
            figures = Measured(WithHistory(databases[name]()), site, folder / name, guesses[name]).run(DRAIN)
            if figures.failures:
                raise SystemExit(f"{name}: {figures.failures}")
            yield name, figures.values["drain"], figures.values["cpu"]


def _told(empty: list[tuple[float, float]], long: list[tuple[float, float]]) -> str:
    (rate, cpu), (rate_long, cpu_long) = (
        map(statistics.median, zip(*each, strict=True)) for each in (empty, long)
    )
    rates = statistics.median(one[0] / other[0] for one, other in zip(long, empty, strict=True))
    cpus = statistics.median(one[1] / other[1] for one, other in zip(long, empty, strict=True))
    return (
        f"{rate_long:,.0f} and {rate:,.0f} jobs/s ({rates:.3f} ×), "
        f"{cpu_long:,.0f} and {cpu:,.0f} us of CPU time for each ({cpus:.3f} ×)"
    )


def main() -> None:
    """Measure what the environment names."""
    rounds, rows = int(os.environ.get("ROUNDS", "5")), int(os.environ.get("ROWS", "1000000"))
    kinds = os.environ.get("DATABASE", "sqlite,postgres").split(",")
    postgres = real.Postgres()
    if "postgres" in kinds:
        postgres.start()
    number = itertools.count()

    def made(kind: str, folder: Path, count: int) -> str:
        """The URL of a new database with ``count`` jobs."""
        url = postgres.fresh_url() if kind == "postgres" else f"sqlite:///{folder}/{next(number)}.db"
        fill(url, count)
        return str(url)

    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as home:
        for kind, server in itertools.product(kinds, os.environ.get("SERVER", "redis,rabbitmq").split(",")):
            folder = Path(home) / kind / server
            folder.mkdir(parents=True)
            databases = {
                "empty": partial(made, kind, folder, 0),
                "long": partial(str, made(kind, folder, rows)),
            }
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in databases}
            with running(server) as site:
                for name, rate, cpu in compare(site, databases, folder, rounds):
                    found[name].append((rate, cpu))
                    print(
                        f"  {server}, {kind}, {name}: {rate:,.0f} jobs/s, {cpu:,.0f} us",
                        file=sys.stderr,
                        flush=True,
                    )
            print(
                f"{server}, {kind}, {rows:,} jobs against none: {_told(found['empty'], found['long'])}",
                flush=True,
            )
    postgres.close()


if __name__ == "__main__":
    main()
