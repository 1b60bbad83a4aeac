"""The event loop of a thread that runs jobs: one for all its coroutines, so that they can share clients and pools.

Between two jobs the loop stands still. So what a job leaves behind is cancelled at its end, as ``asyncio.run`` does;
otherwise it would go on in the next job's time. The loop is closed with its process, or with its pool of threads.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from ..lifetime.forks import Own, when_forked
from ..text.lines import Line
from .coroutine_run import CoroutineRun

ENDING = 5.0
"""Maximum seconds for what a job left behind to end after it was cancelled; and so at the end of the loop."""
_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1")
    if hasattr(signal, name)
)

_of_parents: list[asyncio.AbstractEventLoop] = []
"""In a forked copy: the loops of the parent, which are kept as they are."""

logger = logging.getLogger("flask_nightshift.task")


class JobLoop:
    """The event loop of one thread; a new one replaces it if a coroutine cannot be ended."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        _loops.add(self)

    def run(self, run: CoroutineRun, name: str) -> None:
        """Run ``run`` to its end, in this thread; ``name`` is that of its task. Raises what ends the process."""
        loop = self._loop = self._loop or asyncio.new_event_loop()
        with _signals.cancel(run):
            main = loop.create_task(run.body(), name=f"nightshift-{name}")
            _until(loop, main, run)
            if run.abandoned or not self._ends_rest(name, main):
                self._loop = None
                loop.close()
        if run.late is not None and not isinstance(run.late, Exception):
            raise run.late

    def _ends_rest(self, name: str, main: asyncio.Task[Any]) -> bool:
        """Cancel the tasks that a job left behind; False if one of them goes on all the same."""
        assert self._loop is not None  # noqa: S101 - ``run`` has made it
        left = [task for task in asyncio.all_tasks(self._loop) if task is not main]
        if not left:
            return True
        behind = sorted(_described(task) for task in left)[:5]
        text = f"{name} left {len(left)} asyncio task(s) behind, which were cancelled: {', '.join(behind)}; await them"
        logger.warning(Line("job.left_tasks", text, task=name, asyncio_tasks=behind))
        still = self._loop.run_until_complete(_cancelled(left))
        if still:
            logger.error("job.stuck_task", extra={"task": name, "asyncio_tasks": [_described(still.pop())]})
            return False
        return True

    @property
    def runs(self) -> bool:
        """Whether a coroutine runs in it now."""
        return self._loop is not None and self._loop.is_running()

    def close(self) -> None:
        """Cancel what is left, finish its asynchronous generators, and close it. A later coroutine gets a new one."""
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        try:
            if left := asyncio.all_tasks(loop):
                loop.run_until_complete(_cancelled(list(left)))
            loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), ENDING))
        except Exception:
            logger.exception("event_loop.not_closed")
        finally:
            loop.close()

    def forget(self) -> None:
        """In a forked copy: the loop is the parent's. Closing it here would change what wakes the parent."""
        if self._loop is not None:
            _of_parents.append(self._loop)
        self._loop = None


class _Signals:
    """Has signal handlers of the main thread cancel the coroutine that runs there, instead of raising in it."""

    def __init__(self) -> None:
        self._run: CoroutineRun | None = None
        self._wrapped: dict[int, tuple[Any, Any]] = {}
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: it may have set other handlers."""
        self._run, self._wrapped = None, {}

    @contextlib.contextmanager
    def cancel(self, run: CoroutineRun) -> Any:
        """Within the block, what a handler raises cancels ``run``."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        if not self._wrapped:
            self._wrap()
        before, self._run = self._run, run
        try:
            yield
        finally:
            self._run = before

    def _wrap(self) -> None:
        """Wrap the handlers once: Python needs microseconds for each one, and there are five."""
        for signum in _SIGNALS:
            handler = signal.getsignal(signum)
            if callable(handler) and not isinstance(handler, signal.Handlers):
                ours = self._wrapper(handler)
                signal.signal(signum, ours)
                self._wrapped[signum] = handler, ours

    def _wrapper(self, handler: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
        def handle(signum: int, frame: Any) -> None:
            run = self._run
            if run is None:
                handler(signum, frame)
                return
            try:
                handler(signum, frame)
            except BaseException as exc:  # noqa: BLE001 - the coroutine ends with it
                run.interrupt(exc)

        return handle

    def restore(self) -> None:
        """Give the handlers back, unless somebody has set others."""
        if threading.current_thread() is threading.main_thread():
            for signum, (handler, ours) in self._wrapped.items():
                if signal.getsignal(signum) is ours:
                    signal.signal(signum, handler)
            self._wrapped = {}


class _Loops:
    """All loops of this process."""

    def __init__(self) -> None:
        self._all: list[JobLoop] = []
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: they are the parent's."""
        for each in self._all:
            each.forget()
        self._all = []

    def add(self, loop: JobLoop) -> None:
        """Another one."""
        self._all.append(loop)

    def close(self) -> None:
        """Close those in which nothing runs."""
        for each in list(self._all):
            if not each.runs:
                each.close()


def close_loops() -> None:
    """Close the event loops of this process, and give back its signal handlers. Coroutines that run now go on."""
    _loops.close()
    _signals.restore()


def run_here(run: CoroutineRun, name: str) -> None:
    """Run ``run`` in the loop of this thread."""
    _mine.get().run(run, name)


def _until(loop: asyncio.AbstractEventLoop, main: asyncio.Task[Any], run: CoroutineRun) -> None:
    """Turn ``loop`` until ``main`` has ended or was abandoned; whatever breaks out of it cancels ``main``."""
    while not (main.done() or run.abandoned):
        try:
            loop.run_until_complete(main)
        except BaseException as exc:  # noqa: BLE001 - a task of the body raised SystemExit, or the loop was stopped
            if not (main.done() or run.abandoned):
                run.interrupt(exc)


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Cancel ``tasks``; returns those that have not ended in time."""
    for task in tasks:
        task.cancel()
    return (await asyncio.wait(tasks, timeout=ENDING))[1]


def _described(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", None) or task.get_name()


_loops = _Loops()
_signals = _Signals()
_mine: Own[JobLoop] = Own(JobLoop)
atexit.register(close_loops)

__all__ = ["close_loops", "run_here"]
