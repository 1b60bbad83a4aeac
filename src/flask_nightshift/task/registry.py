"""How tasks are registered in an app: each of Celery's ways ends in ``JobRegistry``, where a task gets our protection.

The ways are ``@jobs.task``, ``@shared_task``, ``@celery.task``, ``register_task`` with an object or a class, and
``tasks.register``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.app.registry import TaskRegistry

from ..domain.job import is_celery_internal
from . import of_base
from .base import JobTask
from .generators import refuse_generator
from .plumbing import CeleryTask
from .protection import Protected, protect
from .results import from_library

if TYPE_CHECKING:
    from ..services import Services


class JobRegistry(TaskRegistry):
    """Celery's tasks by name; ``adopt`` gives each one our protection, however it was registered.

    A task with a wrong option is refused before it is registered.
    """

    adopt: Callable[[Any], Any] = staticmethod(lambda task: task)

    def __setitem__(self, name: str, task: Any) -> None:
        super().__setitem__(name, self.adopt(task))

    def register(self, task: Any) -> None:
        """Register ``task``, a task or its class."""
        instance: Any = task() if inspect.isclass(task) else task
        super().register(self.adopt(instance) if instance.name else instance)


class TaskMaker(Celery):
    """The part of our Celery app that makes tasks."""

    registry_cls = JobRegistry
    task_cls = JobTask
    job_task: type[JobTask] = JobTask
    """The defaults of the app's tasks."""
    services: Services

    def on_init(self) -> None:
        """Set up the registry; Celery calls this hook at the end of its ``__init__``."""
        super().on_init()
        self._tasks.adopt = self.adopt

    def adopt(self, task: Any) -> Any:
        """Give ``task``, of whatever class, our protection (``protection.py``), and bind it to this app."""
        adopted = protect(task, self.services, self.job_task)
        if isinstance(adopted, Protected) and adopted.name:
            adopted.bind(self)
        return adopted

    def task(self, *args: Any, **options: Any) -> Any:
        """Declare a function as a task, as in Celery; a task that is made in a factory belongs to this app alone.

        Celery would add it to every app made later, where it would hide the app's own task of that name.
        """
        if len(args) != 1 or not callable(args[0]):
            return super().task(*args, **options) if args else lambda function: self.task(function, **options)
        if "<locals>" in getattr(args[0], "__qualname__", ""):
            options.setdefault("shared", False)
        return super().task(**options)(args[0])

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a class-based task, as Celery's method does; returns the task."""
        instance: Any = task() if inspect.isclass(task) else task
        name = instance.name or self.gen_task_name(type(instance).__name__, type(instance).__module__)
        instance = self.adopt(instance)
        instance.name = type(instance).name = name
        for option, value in _checked(options, name, type(instance)).items():
            setattr(type(instance), option, value)
        return super().register_task(instance)

    def finalize(self, auto: bool = False) -> None:
        """Make all tasks. A refused task is refused again at the next use, and not silently missing."""
        try:
            super().finalize(auto=auto)
        except Exception:
            self.finalized = False
            raise

    def _task_from_fun(self, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
        known = name or self.gen_task_name(fun.__name__, fun.__module__)
        refuse_generator(fun, known)
        if base is None and is_celery_internal(known):
            base = CeleryTask
        elif getattr(base, "ignore_result", None) is None and from_library(fun.__module__, self.main):
            options.setdefault("ignore_result", False)  # Celery's default, on which a library relies
        return super()._task_from_fun(fun, name=name, base=base, **_checked(options, known, base))


def _checked(options: dict[str, Any], task: str, base: Any) -> dict[str, Any]:
    return of_base.checked(options, base, lambda option: f"{option} of the task {task!r}")


__all__ = ["JobRegistry", "TaskMaker"]
