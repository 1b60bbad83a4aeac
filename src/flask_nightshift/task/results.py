"""Which results are stored: by default none, except of jobs whose results something waits for.

A single job's result is stored if its caller or its task asks for it. Chains, groups and chords differ: the next step,
the chord's body and ``get()`` read their results, so they are stored unless caller or task sets ``ignore_result=True``.
A task from an installed library keeps Celery's default, because the library was written for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import celery

_INSTALLED = ("site-packages", "dist-packages")


_CELERYS_APPLY_ASYNC = celery.Task.apply_async
_CELERYS_SHADOW_NAME = celery.Task.shadow_name


class ResultTask(celery.Task):
    """A Celery task whose results are ignored unless something waits for them."""

    abstract = True
    ignore_result = True

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Publish a job, as in Celery."""
        if not (options or rest) and self._is_ordinary():
            return self._send(args, kwargs)
        if options.get("ignore_result") is None:
            options["ignore_result"] = ignored(self, options)
        return super().apply_async(args, kwargs, *rest, **options)

    def _is_ordinary(self) -> bool:
        """Whether Celery's ``apply_async``, called without options, would do no more than ``_send``."""
        soft, hard = self.soft_time_limit, self.time_limit
        return (
            celery.Task.apply_async is _CELERYS_APPLY_ASYNC  # tools such as Sentry replace it
            and type(self).shadow_name is _CELERYS_SHADOW_NAME
            and self._dump_pydantic_arguments is None
            and not (self.__v2_compat__ or self._get_app().always_eager)
            and not (soft and hard and soft > hard)
        )

    def _send(self, args: Any, kwargs: Any) -> Any:
        if self.typing and (check := getattr(self, "__header__", None)) is not None:
            check(*(args or ()), **(kwargs or {}))
        return self._get_app().send_task(
            self.name,
            args,
            kwargs,
            result_cls=self.AsyncResult,
            task_type=self,
            **{**self._get_exec_options(), "ignore_result": bool(self.ignore_result)},
        )


def ignored(task: Any, options: Mapping[str, Any]) -> bool:
    """Whether a job's result is ignored if its caller did not decide.

    ``options`` are those of ``apply_async``. ``group_id``, ``chord``, ``chain`` and ``replaced_task_nesting`` mark a
    job of a canvas.
    """
    if _in_canvas(options):
        said = _said(task)
        return False if said is None else said
    if options.get("replaced_task_nesting"):
        return _replaces_ignored(task)
    return bool(task.ignore_result)


def from_library(module: str, app_name: str) -> bool:
    """Whether ``module`` belongs to an installed library, and not to the app with the import name ``app_name``."""
    package = module.partition(".")[0]
    ours = ("flask_nightshift", "__main__", app_name.partition(".")[0])
    return package not in ours and _is_installed(package)


def counted_by_backend(backend: Any) -> bool:
    """Whether ``backend`` counts a chord's results as they arrive, and so does not need them stored."""
    return type(backend).__module__ == "celery.backends.redis"


def _in_canvas(options: Mapping[str, Any]) -> bool:
    # the last job of a chain carries an empty chain
    return bool(options.get("group_id") or options.get("chord")) or options.get("chain") is not None


def _said(task: Any) -> bool | None:
    """The choice of the task's author or of the app's defaults; None if only our default applies."""
    if "ignore_result" in vars(task):
        return bool(task.ignore_result)
    for cls in type(task).__mro__:
        if cls is ResultTask:
            return None
        if "ignore_result" in vars(cls):
            return bool(vars(cls)["ignore_result"])
    return bool(task.ignore_result)


def _replaces_ignored(task: Any) -> bool:
    """Whether the result of the job that is being replaced is ignored."""
    parent = celery.current_task
    request = getattr(parent, "request", None)
    return bool(getattr(request, "ignore_result", task.ignore_result))


@cache
def _is_installed(package: str) -> bool:
    found = getattr(sys.modules.get(package), "__file__", None)
    return found is not None and any(part in _INSTALLED for part in Path(found).parts)


__all__ = ["ResultTask", "counted_by_backend", "from_library", "ignored"]
