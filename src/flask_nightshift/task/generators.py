"""Generator functions are no tasks: a worker would never run their bodies.

The extension imports this module, so it imports no library.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def refuse_generator(function: Callable[..., Any], name: str) -> None:
    """Raise ``TypeError`` if ``function``, the body of the task ``name``, is a generator."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"the task {name!r} is a generator function, whose body a worker would never run: "
            "return a list, or enqueue a job for each item"
        )


__all__ = ["refuse_generator"]
