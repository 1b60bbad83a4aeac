"""One coroutine of a task while it runs: it is cancelled at time limits, by signals and by ``flask jobs cancel``.

Invariant: no signal and no limit raises into the event loop. Each one cancels the coroutine, which sees
``asyncio.CancelledError`` at its next ``await``. If it lets that error pass, it ends with the exception that a
synchronous body would have seen (``SoftTimeLimitExceeded``, ``SystemExit``, ``Cancelled``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from billiard.exceptions import TimeLimitExceeded
from celery.exceptions import SoftTimeLimitExceeded

from .attempt_outcome import stop_for_cancel

LOOK = 0.25
"""Seconds between two looks whether the job was cancelled."""


current_run: ContextVar[CoroutineRun | None] = ContextVar("nightshift_coroutine", default=None)
"""The coroutine of a task that runs in this context; set in its own asyncio task."""


class Bounds(NamedTuple):
    """What ends a coroutine from outside.

    ``soft`` and ``hard`` are time limits in seconds that the pool does not enforce itself; None is none.
    ``cancelled()`` tells whether somebody has cancelled the job.
    """

    soft: float | None = None
    hard: float | None = None
    cancelled: Callable[[], bool] | None = None


class CoroutineRun:
    """Runs ``coroutine`` in whatever event loop awaits ``body()``; ``result()`` tells how it ended."""

    def __init__(self, coroutine: Any, bounds: Bounds) -> None:
        self._coroutine, self._bounds = coroutine, bounds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._value: Any = None
        self._error: BaseException | None = None
        self._cause: BaseException | None = None
        self._ended = self.abandoned = False
        self.late: BaseException | None = None
        """What interrupted this thread after the coroutine had ended."""

    async def body(self) -> Any:
        """Await the coroutine; returns its value, or None if it raised: no exception passes through the loop."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        current_run.set(self)
        try:
            self._watch()
            if self._cause is not None:  # it came before the coroutine began
                self._cancel()
            self._value = await self._coroutine
        except BaseException as exc:  # noqa: BLE001 - ``result`` raises it
            self._error = exc
        finally:
            self._ended = True
            for timer in self._timers:
                timer.cancel()
        return self._value

    def interrupt(self, cause: BaseException) -> None:
        """Cancel the coroutine; it is to end with ``cause``. Safe in signal handlers and in any thread."""
        if self._ended:
            self.late = cause
            return
        if self._cause is None or not isinstance(cause, Exception):
            self._cause = cause
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def result(self) -> Any:
        """What the coroutine returned; raises what it raised, with the traceback from its own code on."""
        error, cause = self._error, self._cause
        if error is None:
            return self._value
        self._error = self._cause = None
        # the frames of this module and of the loop are no part of the story
        trace = error.__traceback__.tb_next if error.__traceback__ is not None else None
        if isinstance(error, asyncio.CancelledError):
            if cause is not None:
                raise cause.with_traceback(trace) from None
            lost = RuntimeError("the coroutine was cancelled by its own code, or by what it awaited")
            raise lost.with_traceback(trace) from None
        raise error.with_traceback(trace)

    def _cancel(self) -> None:
        if self._task is not None and not self._ended:
            self._task.cancel()

    def _watch(self) -> None:
        soft, hard, cancelled = self._bounds
        if soft:
            self._later(soft, lambda: self.interrupt(SoftTimeLimitExceeded()))
        if hard:
            self._later(hard, lambda: self.abandon(hard))
        if cancelled is not None:
            self._look(cancelled)

    def _look(self, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            self.interrupt(stop_for_cancel())
        else:
            self._later(LOOK, lambda: self._look(cancelled))

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        assert self._loop is not None  # noqa: S101 - ``body`` has begun
        self._timers.append(self._loop.call_later(seconds, call))
        if len(self._timers) > 3:
            self._timers = [timer for timer in self._timers if timer.when() > self._loop.time()]

    def abandon(self, seconds: float) -> None:
        """Called in the loop at the hard limit, where no process can be killed: the coroutine gets no further turn."""
        assert self._loop is not None  # noqa: S101 - its timer has called
        self._error = TimeLimitExceeded(seconds)
        self._ended = self.abandoned = True
        self._loop.stop()


__all__ = ["Bounds", "CoroutineRun", "current_run"]
