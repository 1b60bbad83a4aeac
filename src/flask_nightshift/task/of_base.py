"""Options of a task that belong to the library of its base class, such as ``unique_on`` of celery-singleton.

Some resemble ours, so they would be refused as misspelt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..options import task as task_options

_CELERYS = ("celery.", "flask_nightshift.")


def checked(options: Mapping[str, Any], base: Any, key: Callable[[str], str]) -> dict[str, Any]:
    """``options`` of a task whose base class is ``base``, checked by name: see ``options/task.py``."""
    theirs = {name: value for name, value in options.items() if is_of(base, name)}
    ours = {name: value for name, value in options.items() if name not in theirs}
    return {**task_options.checked(ours, key), **theirs}


def is_of(base: Any, name: str) -> bool:
    """Whether ``name`` resembles an option of ours, and a library's class among the bases of ``base`` defines it."""
    if base is None or task_options.misspelt(name) is None:
        return False
    from .results import from_library  # it imports Celery

    return any(
        name in vars(each) and from_library(each.__module__, "")
        for each in getattr(base, "__mro__", ())
        if not each.__module__.startswith(_CELERYS)
    )


__all__ = ["checked", "is_of"]
