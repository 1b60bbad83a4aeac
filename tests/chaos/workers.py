"""The workers of one system, each in a slot of its own; a worker that died is replaced."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask_nightshift.domain.pools import DEFAULT, POOLS
from flask_nightshift.errors import DatabaseUnavailable
from places import python_path
from servers import Postgres, Server, wait_for

from .clients import Client, client_of
from .faults import Fault
from .ledger import Book

TESTS = Path(__file__).parent.parent
CONCURRENCY = 2
LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec, as little as possible
PR_SET_PDEATHSIG = 1
BOOT_SECONDS = 120
STOP_SECONDS = 60
FROZEN_HEARTBEAT = 5
"""Seconds, where workers are frozen on RabbitMQ; with Nightshift's own 30 each freeze would take over a minute."""
LOOK_EVERY = 0.5
"""Seconds between two looks at the table of dead letters."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How the workers of a trial are set up.

    ``prefetch``: Celery's multiplier (None: Nightshift's default, by time); ``heartbeat``: of AMQP, in seconds (a
    frozen worker is given up after about two of them; None: Nightshift's own); ``postgres``: the database, else SQLite;
    ``pool``: Nightshift's ``--pool``.
    """

    prefetch: int | None = None
    heartbeat: int | None = None
    postgres: bool = False
    pool: str = DEFAULT.name

    @classmethod
    def of(cls, fault: Fault, broker: str, prefetch: int | None = None, pool: str = DEFAULT.name) -> Setup:
        """What a fault needs on ``broker``; ``prefetch`` if not its own."""
        freezes = fault in (Fault.MIXED, Fault.WORKER_FREEZE)
        return cls(
            prefetch=prefetch or (16 if fault is Fault.MIXED else None),
            heartbeat=FROZEN_HEARTBEAT if freezes and broker == "rabbitmq" else None,
            postgres=fault in (Fault.MIXED, Fault.DATABASE_AWAY),
            pool=pool,
        )

    @property
    def at_once(self) -> int:
        """How many jobs a worker runs at once."""
        return 1 if POOLS[self.pool].one_job else CONCURRENCY


class Worker:
    """One worker: a main process and its children, in a session of their own."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self._up = False
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self.pid = self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether its main process runs (or is frozen)."""
        return self._popen.poll() is None

    @property
    def up(self) -> bool:
        """Whether it consumes."""
        self._up = self._up or b" ready" in self.log.read_bytes()
        return self._up and self.alive

    def signal_all(self, number: int) -> None:
        """A signal to the main process and all children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self.signal_all(signal.SIGKILL)
        self._popen.wait(10)

    def terminate(self) -> None:
        """SIGTERM, and wait for its end."""
        self._popen.terminate()
        self._popen.wait(STOP_SECONDS)


class Workers:
    """``size`` workers on one broker, a client that enqueues, and the ledger; ``close()`` ends them all."""

    def __init__(
        self, server: Server, setup: Setup, folder: Path, *, size: int, stock: bool, postgres: Postgres | None
    ) -> None:
        self.server, self.setup, self.size, self.stock = server, setup, size, stock
        self.postgres = postgres if setup.postgres else None
        self.folder = folder
        folder.mkdir(parents=True)
        for name in ("logs", "tmp"):
            (folder / name).mkdir()
        self.ledger = folder / "ledger"
        self._settings = self._nightshift_settings(server.fresh_url())
        self.book = Book(self.ledger)
        self.client: Client = client_of(
            stock=stock, settings=self._settings, prefetch=setup.prefetch or 1, book=self.book
        )
        self.places: list[Worker | None] = [None] * size
        self._started = 0
        self._dead: dict[str, str] = {}
        self._dead_at = 0.0

    def _nightshift_settings(self, broker_url: str) -> dict[str, str]:
        celery: dict[str, Any] = {}
        if self.setup.prefetch is not None:
            celery["worker_prefetch_multiplier"] = self.setup.prefetch
        if self.setup.heartbeat is not None:
            celery["broker_heartbeat"] = self.setup.heartbeat
        sqlite = f"sqlite:///{self.folder}/history.sqlite3"
        return {
            "CHAOS_FOLDER": str(self.folder),
            "CHAOS_LEDGER": str(self.ledger),
            "CHAOS_PREFETCH": str(self.setup.prefetch or 1),
            "NIGHTSHIFT_BROKER_URL": broker_url,
            "NIGHTSHIFT_DATABASE_URL": self.postgres.fresh_url() if self.postgres else sqlite,
            "NIGHTSHIFT_CELERY": json.dumps(celery),
            "NIGHTSHIFT_LOG_FORMAT": "json",
            "FLASK_APP": "chaos.jobs_app",
            "PYTHONPATH": python_path(),
            "TMPDIR": str(self.folder / "tmp"),  # a killed process leaves files there
        }

    def dead(self, *, fresh: bool = False) -> dict[str, str]:
        """Dead letters, job id to reason, cached for a moment; while the database is down, the last known ones."""
        now = time.monotonic()
        if fresh or now - self._dead_at > LOOK_EVERY:
            self._dead_at = now
            try:
                self._dead = self.client.dead()
            except DatabaseUnavailable:
                if fresh:
                    raise
        return self._dead

    # workers
    def ensure(self) -> None:
        """Start a new worker in every slot whose worker has ended."""
        for place, worker in enumerate(self.places):
            if worker is None or not worker.alive:
                if worker is not None:
                    worker.kill()  # children that outlived it
                self.places[place] = self._start()

    def _start(self) -> Worker:
        self._started += 1
        name = f"w{self._started}@chaos"
        env = {**os.environ, **self._settings}
        options = ["--concurrency", str(CONCURRENCY)]
        if self.stock:
            env["CHAOS_BROKER_URL"] = self._settings["NIGHTSHIFT_BROKER_URL"]
            argv = ["celery", "--app", "chaos.stock_app", "worker", "--hostname", name, "--loglevel", "INFO"]
            options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        else:
            argv = ["flask", "jobs", "worker", "--name", name, "--pool", self.setup.pool]
        log = self.folder / "logs" / f"{self._started}.log"
        return Worker(name, [sys.executable, "-m", *argv, *options], env, log)

    @property
    def up(self) -> list[Worker]:
        """The workers that consume, in the order of their places."""
        return [worker for worker in self.places if worker is not None and worker.up]

    def until_up(self) -> None:
        """Wait for every worker."""
        wait_for(lambda: len(self.up) == self.size, BOOT_SECONDS, f"not all workers are up: {self.folder}")

    def stop(self) -> None:
        """SIGTERM to all workers."""
        workers = [worker for worker in self.places if worker is not None and worker.alive]
        for worker in workers:
            worker.signal_all(signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        wait_for(
            lambda: not any(worker.alive for worker in workers),
            deadline - time.monotonic(),
            f"not all workers have stopped: {self.folder}",
        )

    def heal(self) -> None:
        """Start or thaw every part that is down."""
        self.server.ensure()
        if self.postgres is not None:
            self.postgres.ensure()
        for worker in self.places:
            if worker is not None:
                worker.signal_all(signal.SIGCONT)
        self.ensure()

    def close(self) -> None:
        """End everything that was started here; files stay."""
        for worker in self.places:
            if worker is not None:
                worker.kill()
        self.book.close()
        self.server.ensure()  # closing waits for the broker
        with contextlib.suppress(Exception):  # whatever state the trial left it in
            self.client.close()


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
