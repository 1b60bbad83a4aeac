"""Tasks that are coroutines: their body is run to its end where a worker would have called a function.

Not by asgiref, as Flask does for views: it runs the coroutine in a thread of its own, where ``self.request`` is empty
and no time limit reaches. An app that has its own ``ensure_sync`` or ``async_to_sync`` is asked instead.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from flask import Flask


def finished(value: Any, app: Flask) -> Any:
    """What a body has returned; if that is a coroutine, what it gives once it has run.

    The soft time limit cancels it: ``finally`` and ``except asyncio.CancelledError`` can clean up. Raises ``TypeError``
    for a generator, which nobody would run.
    """
    if inspect.iscoroutine(value):
        return _run(value, app)
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise TypeError("the task returned a generator, whose body nobody would run: return a list")
    return value


def refuse_generator(function: Callable[..., Any], name: str) -> None:
    """Raise ``TypeError`` if ``function``, the body of the task ``name``, is a generator."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"the task {name!r} is a generator function, whose body a worker would never run: "
            "return a list, or enqueue a job for each item"
        )


def _run(coroutine: Any, app: Flask) -> Any:
    kind = type(app)
    if kind.ensure_sync is not Flask.ensure_sync or kind.async_to_sync is not Flask.async_to_sync:

        async def body() -> Any:
            return await coroutine

        return app.ensure_sync(body)()
    return asyncio.run(coroutine)


__all__ = ["finished", "refuse_generator"]
