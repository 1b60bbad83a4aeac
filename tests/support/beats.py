"""Beat inside the test process, with a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.utils.imports import symbol_by_name

from opsapp import Ops

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Clock:
    """The clock of a test's schedules."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Beats:
    """Starts one Beat after another; their entries enqueue into the queue ``mail``."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops
        self.scheduler: Any = None

    def live(self) -> Any:
        """End the current Beat and start a new one."""
        self.end()
        celery = self.ops.services.celery
        self.scheduler = symbol_by_name(celery.conf.beat_scheduler)(celery)
        return self.scheduler

    def end(self) -> None:
        if self.scheduler is not None:
            self.scheduler.close()
            self.scheduler = None

    def turn(self) -> int:
        """Run one turn of Beat's loop; returns the number of jobs that it enqueued."""
        before = self._ready()
        self.scheduler.tick()
        return self._ready() - before

    def _ready(self) -> int:
        return self.ops.services.broker.depths(["mail"])[0].ready
