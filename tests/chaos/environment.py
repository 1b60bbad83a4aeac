"""The environment of a trial: one broker, a PostgreSQL if needed, and the workers for the fault."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from flask_nightshift.domain.pools import DEFAULT
from servers import Postgres

from .brokers import BROKERS
from .faults import Fault
from .plan import Plan
from .trial import Outcome, Trial
from .workers import Setup, Workers


class Environment:
    """Runs trials on ``broker``, its files under ``folder``; a context manager that ends what it started.

    The same workers serve all faults that need the same setup; a broken guarantee replaces them.
    """

    def __init__(
        self,
        broker: str,
        folder: Path,
        *,
        workers: int = 3,
        stock: bool = False,
        pool: str = DEFAULT.name,
    ) -> None:
        self.broker, self._pool = broker, pool
        self._folder, self._size, self._stock = folder, workers, stock
        self._server: Any = None
        self._postgres: Postgres | None = None
        self._workers: Workers | None = None
        self._setups = 0
        self._seen: set[Fault] = set()

    def __enter__(self) -> Environment:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: object, trace: TracebackType | None) -> None:
        self._dismiss()
        for server in (self._server, self._postgres):
            if server is not None:
                server.close()

    def run(self, fault: Fault, *, jobs: int, kills: int, seed: int, prefetch: int | None = None) -> Outcome:
        """One trial."""
        if fault in self._seen:  # its jobs would have the ids of those before
            self._dismiss()
        workers = self._workers_for(Setup.of(fault, self.broker, prefetch, self._pool))
        self._seen.add(fault)
        try:
            outcome = Trial(workers, Plan(fault, self.broker, jobs, kills, seed)).run()
        except BaseException:
            self._dismiss()
            raise
        if outcome.broken:
            self._dismiss()
        return outcome

    def _workers_for(self, setup: Setup) -> Workers:
        if self._workers is not None and self._workers.setup == setup:
            return self._workers
        self._dismiss()
        if self._server is None:
            self._server = BROKERS[self.broker]()
            self._server.start()
        self._server.ensure()
        if setup.postgres and self._postgres is None:
            self._postgres = Postgres()
            self._postgres.start()
        self._setups += 1
        folder = self._folder / f"{self.broker}-{self._setups}"
        self._workers = Workers(
            self._server, setup, folder, size=self._size, stock=self._stock, postgres=self._postgres
        )
        return self._workers

    def _dismiss(self) -> None:
        workers, self._workers = self._workers, None
        self._seen.clear()
        if workers is not None:
            workers.close()
