"""``TaskProxy``: the object that ``@jobs.task`` puts into the module in place of the function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import JobTask


class TaskProxy:
    """Represents a declared task; every access goes to the task of the current app.

    Setting an attribute (``patch("app.mail.retry")`` in a test, ``task.max_retries = 0``) or deleting one changes that
    task. Celery's proxy does not fit: it pretends to be of the task's class, so even ``isinstance`` (Flask's search for
    the app in a module) would need an app.
    """

    _find: Callable[[], JobTask]
    __wrapped__: Callable[..., Any]

    def __init__(self, find: Callable[[], JobTask], function: Callable[..., Any]) -> None:
        self.__dict__["_find"] = find
        functools.update_wrapper(self, function)

    def __getattr__(self, name: str) -> Any:
        try:
            task = self._find()
        except RuntimeError as exc:  # so that hasattr() works without an app
            raise AttributeError(str(exc)) from None
        return getattr(task, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            self.__dict__[name] = value  # describes the function: its name, its docstring
        else:
            setattr(self._find(), name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            del self.__dict__[name]
        else:
            delattr(self._find(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body in this process, in the app context."""
        return self._find()(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.__wrapped__.__module__}.{self.__wrapped__.__qualname__}>"


__all__ = ["TaskProxy"]
