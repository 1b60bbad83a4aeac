"""``await result.aget()``: a coroutine waits for the result of a job, or of a group, while its event loop goes on.

Celery has one class of results for all apps, so the methods are added to it. They have names of their own and change
nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from celery.backends.base import DisabledBackend
from celery.exceptions import TimeoutError as NotThereYet
from celery.result import AsyncResult, EagerResult, ResultSet, assert_will_not_block

FIRST_LOOK = 3.0
"""Seconds beyond its time limit that a wait may take until the result backend was asked once, as ``get()`` does."""


async def aget(
    self: Any,
    timeout: float | None = None,
    propagate: bool = True,
    interval: float = 0.5,
    *,
    follow_parents: bool = True,
    callback: Callable[[str, Any], object] | None = None,
    disable_sync_subtasks: bool = True,
) -> Any:
    """As ``get()``, for coroutines: the event loop goes on while the job runs.

    Waits at most ``timeout`` seconds and returns what the job returned; None at once if its result is ignored.
    ``interval`` is the number of seconds between two looks at a result backend that tells nothing by itself, such as a
    database. Raises what the job raised, or returns it with ``propagate=False``; ``celery.exceptions.TimeoutError``;
    what the result backend raises; and ``RuntimeError`` inside a task and outside of an asyncio event loop.
    """
    _check(interval, disable_sync_subtasks)
    if self.ignored:
        return None
    if (
        isinstance(self, EagerResult)
        or isinstance(self.backend, DisabledBackend)
        or getattr(self.backend, "runs_jobs", False)  # in a test
    ):
        return self.get(timeout, propagate, disable_sync_subtasks=disable_sync_subtasks)
    if self._cache is None:
        await _ended(self, list(_before(self)) if follow_parents and propagate else [], timeout, interval)
    return self.maybe_throw(propagate=propagate, callback=callback)


async def aget_each(
    self: Any,
    timeout: float | None = None,
    propagate: bool = True,
    interval: float = 0.5,
    *,
    callback: Callable[[str, Any], object] | None = None,
    disable_sync_subtasks: bool = True,
) -> list[Any]:
    """As ``aget()`` of each member of a group; returns a list in their order. The first failure is raised at once."""
    _check(interval, disable_sync_subtasks)
    options = {"callback": callback, "disable_sync_subtasks": disable_sync_subtasks}
    waits = [
        asyncio.ensure_future(each.aget(timeout, propagate, interval, **options)) for each in self.results
    ]
    try:
        return list(await asyncio.gather(*waits))
    finally:
        for each in waits:
            each.cancel()


async def _ended(result: Any, parents: list[Any], timeout: float | None, interval: float) -> None:
    """Wait until ``result`` has ended and keeps how; raises the error of a parent that has failed."""
    for parent in parents:
        if parent._cache is not None:  # noqa: SLF001 - as Celery's own get()
            parent.maybe_throw()
    loop, waits = asyncio.get_running_loop(), _waits(result)
    until = None if timeout is None else loop.time() + timeout
    waiting = [each for each in (result, *parents) if each._cache is None]  # noqa: SLF001
    begun = [(waits.begin(each, interval), each) for each in waiting]
    mine, of = begun[0][0], {wait.meta: each for wait, each in begun}
    pending = set(of)
    try:
        while not mine.meta.done():
            left = None if until is None else max(0.0, until - loop.time())
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await asyncio.wait(
                    (mine.meta, mine.looked), timeout=FIRST_LOOK, return_when=asyncio.FIRST_COMPLETED
                )
                if not mine.meta.done():
                    raise NotThereYet("The operation timed out.")
            for future in done:
                _keep(of[future], future.result())
                if of[future] is not result:
                    of[future].maybe_throw()
        _keep(result, mine.meta.result())
    finally:
        for wait, _ in begun:
            waits.give_up(wait)


def _keep(result: Any, meta: Any) -> None:
    if isinstance(meta, BaseException):
        raise meta
    if result._cache is None:  # noqa: SLF001
        result._maybe_set_cache(meta)  # noqa: SLF001


def _check(interval: float, disable_sync_subtasks: bool) -> None:
    if interval <= 0:
        raise ValueError(f"interval={interval!r}: give a number of seconds greater than 0")
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("await aget() in a coroutine that asyncio runs; elsewhere call get()") from None
    if disable_sync_subtasks:
        assert_will_not_block()


def _waits(result: Any) -> Any:
    waits = getattr(result.app, "result_waits", None)
    if waits is None:
        raise RuntimeError(
            f"{result!r} belongs to the Celery app {result.app!r}, which has no Nightshift: use the result of a task "
            "of an app with Nightshift, or jobs.celery.AsyncResult(job_id)."
        )
    return waits


def _before(result: Any) -> Iterator[Any]:
    """The results of the steps before ``result`` in its chain, the last one first."""
    node = result.parent
    while node is not None:
        yield from _members(node)
        node = node.parent


def _members(node: Any) -> Iterator[Any]:
    if isinstance(node, ResultSet):
        for each in node.results:
            yield from _members(each)
    else:
        yield node


def extend() -> None:
    """Give all results the method."""
    AsyncResult.aget = aget
    ResultSet.aget = aget_each


__all__ = ["aget", "aget_each", "extend"]
