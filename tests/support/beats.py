"""Lives of Beat in this process, by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.utils.imports import symbol_by_name

from opsapp import Ops

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Clock:
    """The time that the schedules of a test go by."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Beats:
    """Lives of Beat, one after the other; its entries put their jobs into the queue ``mail``."""

    def __init__(self, ops: Ops) -> None:
        self.ops = ops
        self.scheduler: Any = None

    def live(self) -> Any:
        """A new life; the one before ends."""
        self.end()
        celery = self.ops.services.celery
        self.scheduler = symbol_by_name(celery.conf.beat_scheduler)(celery)
        return self.scheduler

    def end(self) -> None:
        if self.scheduler is not None:
            self.scheduler.close()
            self.scheduler = None

    def turn(self) -> int:
        """A turn of the loop; how many jobs it enqueued."""
        before = self._ready()
        self.scheduler.tick()
        return self._ready() - before

    def _ready(self) -> int:
        return self.ops.services.broker.depths(["mail"])[0].ready
