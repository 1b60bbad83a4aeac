"""Tasks that are coroutines: the worker runs the coroutine to its end.

It does not use asgiref, as Flask does for views: asgiref runs the coroutine in another thread, where ``self.request``
is empty and no time limit applies. If the app overrides ``ensure_sync`` or ``async_to_sync``, those are used instead.
asyncio is imported only for a coroutine.

In a worker the coroutines of a thread share one event loop (``event_loop.py``). Elsewhere each has a loop of its own,
so a web process keeps none.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from billiard.process import current_process
from flask import Flask

from ..domain.context import current_job
from ..lifetime import greenlets
from .attempt_outcome import in_worker
from .board import board
from .carried import carried

if TYPE_CHECKING:
    from .coroutine_run import Bounds, CoroutineRun

_UNFINISHED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def finished(
    value: Any,
    task: Any,
    *,
    bounded: bool = True,
    called_in: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Any:
    """``value``, which the body of ``task`` returned; if it is a coroutine, run it and return its result.

    The soft time limit cancels the coroutine, so ``finally`` and ``except asyncio.CancelledError`` can clean up.
    ``bounded``: the job's time limits apply to it. ``called_in``: the task was called as a plain function, and this
    makes the context of its body; inside a running event loop the caller then gets a coroutine to await. Raises
    ``TypeError`` for a generator, because a worker would never run its body.
    """
    if not isinstance(value, _UNFINISHED):
        return value
    if inspect.iscoroutine(value):
        if called_in is None:
            return _run(value, task, bounded)
        return _within(called_in, value) if _loop_runs_here() else _run(value, task, bounded=False)
    raise TypeError(f"{task.name} returned a generator, whose body nobody would run: return a list")


def close_loops(**_: Any) -> None:
    """Close the event loops of this process, if there are any; for signals of Celery, too."""
    module: Any = sys.modules.get(f"{__package__}.event_loop")
    if module is not None:
        module.close_loops()


async def _within(context: Callable[[], AbstractContextManager[Any]], coroutine: Any) -> Any:
    with context():
        return await coroutine


def _run(coroutine: Any, task: Any, bounded: bool) -> Any:
    from .coroutine_run import CoroutineRun

    run = CoroutineRun(coroutine, _bounds(task, bounded))
    app, kind = task.nightshift.app, type(task.nightshift.app)
    if kind.ensure_sync is not Flask.ensure_sync or kind.async_to_sync is not Flask.async_to_sync:
        made = _waited(run, app.ensure_sync(run.body))
        run.result()  # raises what the coroutine raised
        return made
    _drive(run, task)
    return run.result()


def _drive(run: CoroutineRun, task: Any) -> None:
    """Run ``run`` in the loop that belongs here."""
    import asyncio

    if greenlets.patched():  # to asyncio all greenlets are one thread, which may have one loop
        elsewhere = carried(lambda: asyncio.run(run.body()), task)
        _waited(run, lambda: greenlets.call_in_os_thread(elsewhere))
    elif _loop_runs_here():
        _in_new_thread(carried(lambda: asyncio.run(run.body()), task))
    elif in_worker():
        from .event_loop import run_here

        run_here(run, task.name)
    else:
        asyncio.run(run.body())


def _waited(run: CoroutineRun, call: Callable[[], Any]) -> Any:
    """Make ``call``, which runs ``run`` elsewhere; what interrupts the wait for it cancels ``run``."""
    try:
        return call()
    except BaseException as exc:
        run.interrupt(exc)
        raise


def _in_new_thread(call: Callable[[], Any]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def _bounds(task: Any, bounded: bool) -> Bounds:
    """What ends a coroutine of ``task`` from outside: nothing, if it does not belong to an attempt in a worker."""
    from .coroutine_run import Bounds

    job = current_job.get()
    if job is None or not in_worker():
        return Bounds()
    soft, hard = _limits_of_ours(task) if bounded else (None, None)
    return Bounds(soft, hard, lambda: board.shows(job.job_id))


def _limits_of_ours(task: Any) -> tuple[float | None, float | None]:
    """The soft and the hard limit in seconds, if the pool does not enforce them."""
    if current_process().name != "MainProcess":  # a child, which its parent signals and kills
        return None, None
    soft, hard = time_limits(task)
    return soft, None if greenlets.patched() else hard


def time_limits(task: Any) -> tuple[float | None, float | None]:
    """The soft and the hard time limit of the running attempt of ``task``, in seconds."""
    said, conf = task.request.timelimit or (None, None), task.app.conf
    hard = said[0] or task.time_limit or conf.task_time_limit
    return said[1] or task.soft_time_limit or conf.task_soft_time_limit, hard


def _loop_runs_here() -> bool:
    """Whether an event loop, asyncio's or trio's, runs in this thread."""
    import asyncio

    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["close_loops", "finished", "time_limits"]
