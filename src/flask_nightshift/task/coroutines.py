"""Tasks that are coroutines: the worker runs the coroutine to its end.

It does not use asgiref, as Flask does for views: asgiref runs the coroutine in another thread, where ``self.request``
is empty and no time limit applies. If the app overrides ``ensure_sync`` or ``async_to_sync``, those are used instead.
asyncio is imported only for a coroutine.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import copy_context
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from flask import Flask

from ..lifetime import greenlets

_UNFINISHED = (CoroutineType, GeneratorType, AsyncGeneratorType)


def finished(value: Any, task: Any, *, called: bool = False) -> Any:
    """``value``, which the body of ``task`` returned; if it is a coroutine, run it and return its result.

    The soft time limit cancels the coroutine, so ``finally`` and ``except asyncio.CancelledError`` can clean up.
    ``called``: the task was called as a plain function; inside a running event loop the caller then gets the coroutine
    to await. Raises ``TypeError`` for a generator, because a worker would never run its body.
    """
    if not isinstance(value, _UNFINISHED):
        return value
    if inspect.iscoroutine(value):
        return value if called and _loop_runs_here() else _run(value, task)
    raise TypeError(f"{task.name} returned a generator, whose body nobody would run: return a list")


def refuse_generator(function: Callable[..., Any], name: str) -> None:
    """Raise ``TypeError`` if ``function``, the body of the task ``name``, is a generator."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"the task {name!r} is a generator function, whose body a worker would never run: "
            "return a list, or enqueue a job for each item"
        )


def _run(coroutine: Any, task: Any) -> Any:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    app, kind = task.nightshift.app, type(task.nightshift.app)
    if kind.ensure_sync is not Flask.ensure_sync or kind.async_to_sync is not Flask.async_to_sync:

        async def body() -> Any:
            return await coroutine

        return app.ensure_sync(body)()
    if not greenlets.patched() and not _loop_runs_here():
        return asyncio.run(coroutine)
    context, request = copy_context(), task.request_stack.top

    def elsewhere() -> Any:
        task.request_stack.push(request)
        try:
            return asyncio.run(coroutine)
        finally:
            task.request_stack.pop()

    if greenlets.patched():  # to asyncio all greenlets are one thread, which may have one loop
        return greenlets.call_in_os_thread(context.run, elsewhere)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, elsewhere).result()


def _loop_runs_here() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["finished", "refuse_generator"]
