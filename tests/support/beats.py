"""Beat inside the test process, with a clock that the test moves."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from celery.utils.imports import symbol_by_name

from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.schedule.clock import ServerClock
from opsapp import Ops
from servers import wait_for

START = datetime(2024, 3, 4, 12, 0, tzinfo=UTC)
"""Long ago: the server does not claim ticks of the future."""


class Clock(ServerClock):
    """What the Beats of a test take for the server's clock."""

    def __init__(self, at: datetime = START) -> None:
        super().__init__(())
        self.at = at

    def now(self) -> datetime:
        return self.at

    __call__ = now


class Beats:
    """Starts one Beat after another; their entries enqueue into the queue ``mail``."""

    def __init__(self, ops: Ops, clock: Clock) -> None:
        self.ops = ops
        self.clock = clock
        self.scheduler: Any = None

    def warm_up(self) -> None:
        """Declare the queue, which takes long on a busy machine."""
        broker = self.ops.services.broker

        def published() -> bool:
            with contextlib.suppress(BrokerUnavailable):
                self.ops.enqueue()
                return True
            return False

        wait_for(published, 30, "the broker")
        wait_for(lambda: broker.purge("mail") or self.ready == 0, 10, "an empty queue")

    def live(self) -> Any:
        """End the current Beat and start a new one."""
        self.end()
        self.scheduler = self.another()
        return self.scheduler

    def another(self) -> Any:
        """Start a Beat beside the current one; the caller closes it."""
        celery = self.ops.services.celery
        return symbol_by_name(celery.conf.beat_scheduler)(celery, clock=self.clock)

    def end(self) -> None:
        if self.scheduler is not None:
            self.scheduler.close()
            self.scheduler = None

    def turn(self, scheduler: Any = None) -> int:
        """Run one turn of a Beat's loop; returns the number of jobs that it enqueued.

        On a busy machine the broker may not answer in time; then the turn is repeated, as Beat does.
        """
        before, each = self.ready, scheduler or self.scheduler

        def ticked() -> bool:
            each.tick()
            return all(life.sending is None for life in each._lives.values())

        wait_for(ticked, 30, "the broker's answer")
        return self.ready - before

    @property
    def ready(self) -> int:
        """Jobs in the queue."""
        return self.ops.services.broker.depths(["mail"])[0].ready
