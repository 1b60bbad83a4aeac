"""Turns a pool of the kernel: in the worker's event loop, and by itself once the loop has ended."""

from __future__ import annotations

import logging
import math
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery.concurrency.prefork import _run_ready_callbacks

from .shared import Pool

logger = logging.getLogger(__name__)

TURN = 0.1
"""Seconds of a turn at the most, while the pool stops."""


class Driver:
    """Calls ``turn``, which returns when the next one is due, as ``Pool.poll`` does."""

    def __init__(self, pool: Pool, turn: Callable[[], float | None]) -> None:
        self._pool, self._do = pool, turn
        self._hub: Any = None
        self._due = math.inf
        self._over = False

    def use(self, hub: Any) -> None:
        """Use this event loop (kombu's) from now on. Call it again after a reset of the loop."""
        self._hub = hub
        self._due = math.inf
        hub.add_reader(self._pool.fileno(), self._turn)
        hub.call_soon(self._turn)

    def _turn(self) -> None:
        if self._over:
            return
        wait: float | None = 0.0
        try:
            wait = self._do()
        finally:  # also if the start of the next job has raised
            if wait is not None and not self._over:
                self._turn_within(wait)

    def _turn_within(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        if at < self._due:
            self._due = at
            self._hub.call_later(seconds, self._turn_on_time)

    def _turn_on_time(self) -> None:
        """Have the loop turn the pool as it reads, not among its timers.

        Celery acknowledges by ``call_soon``, and kombu's loop makes what a timer calls soon only after the next event.
        """
        self._due = math.inf
        if not self._over:
            self._pool.ask_for_a_turn()

    def run_until_empty(self, seconds: float) -> None:
        """Turn the pool until it has no processes, for ``seconds`` at the most; then close it.

        The event loop has ended; its timers (heartbeats) and acknowledgements continue here.
        """
        self._over = True
        end = time.monotonic() + seconds
        watch = select.poll()
        watch.register(self._pool.fileno(), select.POLLIN)
        while self._pool.processes and time.monotonic() < end:
            try:
                wait = self._do()
            except Exception:  # the broker is away; the other events come with the next turn
                logger.exception("pool.end_not_settled")
                wait = 0.0
            if self._pool.processes:
                watch.poll(1000 * (TURN if wait is None else min(wait, TURN)))
            self._serve_loop()
        self._serve_loop()
        self._close()

    def _serve_loop(self) -> None:
        if self._hub is None:
            return
        try:
            self._hub.fire_timers()
            _run_ready_callbacks(self._hub)
        except Exception:
            logger.exception("pool.timer_failed")

    def _close(self) -> None:
        if self._hub is not None:
            with suppress(Exception):
                self._hub.remove_reader(self._pool.fileno())
        if not self._pool.processes:
            self._pool.close()


__all__ = ["Driver"]
