"""What goes round every task, whatever class it is of: an attempt in the app context, judged where it ends.

A user's base class may be a plain ``celery.Task``, may have its own ``__call__`` or hooks, and may never have heard of
us. So each task of an app gets a class made for it when it is registered::

    Protected            the attempt, hooks in the app context, options checked
    <the task's class>   with the user's base class: what it says wins
    JobTask              the app's defaults, then ours
    celery.Task

In a worker's child process what the body raises is judged at once by ``retry.decide``, where the real exception is at
hand, and the outcome is noted for the parent process. The child never publishes a next state: ``worker/settlement.py``
does, before it acknowledges (invariants 1 and 2).
"""

from __future__ import annotations

import functools
import inspect
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import celery
from celery.app.task import get_actual_ignore_result
from celery.exceptions import Ignore, Reject, Retry
from celery.local import Proxy
from flask import Flask, current_app, has_app_context

from ..domain.context import current_job
from ..domain.job import is_plumbing, utcnow
from ..domain.retry import Dead, decide
from ..lifetime.copies import original_only
from ..message.headers import ref
from ..options import task as task_options
from ..options.publish import checked
from ..options.task import HOOKS
from .app_context import in_context
from .attempt_outcome import AttemptOutcome, attempt, failure_of, outcome_of
from .base import JobTask
from .coroutines import finished, refuse_generator

if TYPE_CHECKING:
    from ..services import Services

MAX_RESULT = 65_536
"""Characters of a result, as JSON, that the journal keeps; a longer one is left out."""
_OURS = frozenset({__file__, finished.__code__.co_filename})
_WRITTEN = ("queue", "priority", "expires")
"""Options of ``retry_kwargs`` that are part of the message."""
_DESCRIBES = ("__module__", "__doc__", "__qualname__", "__annotations__")


class Protected(JobTask):
    """In front of a task's own class: nothing that a user overrides takes the protection away."""

    abstract = True

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Check what the task, its classes and ``task_annotations`` say, and complete it."""
        said = cls._said()
        _check(said, str(cls.name or cls.__qualname__))
        if said.get("queue") is not None:
            cls.job_queue, cls.queue = (
                said["queue"],
                None,
            )  # Celery takes one of this name for each call's own
        _complete_limits(cls, said)
        for name in HOOKS:
            hook = inspect.getattr_static(cls, name)
            if hook is not celery.Task.__dict__[name] and not isinstance(hook, _Hook):
                setattr(cls, name, _Hook(hook))
        super().on_bound(app)

    @classmethod
    def _said(cls) -> dict[str, Any]:
        """What was said of this task itself: by its options, its classes, annotations."""
        classes = takewhile(
            lambda each: each is not JobTask and "is_default" not in each.__dict__, cls.__mro__[:-1]
        )
        said: dict[str, Any] = {}
        for each in reversed([each for each in classes if each is not Protected]):
            said.update(each.__dict__)
        return said

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body in the app context: called by a worker, by ``apply()``, or as a plain function."""
        request = self.request_stack.top
        outcome = outcome_of(request)
        if outcome is not None and not outcome.begun:
            with in_context(self._app_context()):
                return self._attempt(outcome, lambda: super(Protected, self).__call__(*args, **kwargs))
        with self._app_context():
            if outcome is None and request is not None and request.is_eager:
                with _eager(request, self) as outcome:
                    return self._attempt(outcome, lambda: super(Protected, self).__call__(*args, **kwargs))
            return finished(super().__call__(*args, **kwargs), self, called=True)

    def _attempt(self, outcome: AttemptOutcome, call: Callable[[], Any]) -> Any:
        outcome.begun = True
        try:
            with original_only():
                result = finished(call(), self)
        except Exception as exc:
            if outcome.asked is not None and exc is not outcome.asked:
                raise outcome.asked from exc  # the retry had been asked for before that went wrong
            if not isinstance(exc, (Ignore, Reject, Retry)):
                self._judge(outcome, exc)
            raise
        if outcome.asked is not None:  # throw=False, or the body has caught it
            raise outcome.asked
        outcome.returned = True
        if not get_actual_ignore_result(self, self.request):
            outcome.result = _as_json(result)
        return result

    def _judge(self, outcome: AttemptOutcome, exc: Exception) -> None:
        """Note what follows ``exc``; a retry is raised as Celery's ``Retry``, so that its hooks see one."""
        policy = self.policy.limited_to(outcome.max_retries) if outcome.has_max_retries else self.policy
        decision = decide(
            policy,
            retriable=self.retriable(exc),
            retries=self.request.retries,
            now=utcnow(),
            rng=random.random,
        )
        outcome.decision, outcome.failure = decision, failure_of(exc, _OURS)
        if isinstance(decision, Dead):
            return
        if outcome.eager:
            raise super().retry(exc=exc, countdown=0, throw=False, max_retries=policy.max_retries)
        wanted = {name: value for name, value in (self.retry_kwargs or {}).items() if name in _WRITTEN}
        outcome.options = checked(wanted, self.app.timezone)
        raise Retry(exc=exc, when=decision.at) from exc

    def _app_context(self) -> AbstractContextManager[Any]:
        """The app's context, unless it is there already (a direct call, or an eager one, in a request)."""
        app: Flask = self.nightshift.app
        if has_app_context() and current_app._get_current_object() is app:  # type: ignore[attr-defined]  # noqa: SLF001
            return nullcontext()
        return app.app_context()


def protect(task: Any, services: Services, defaults: type[JobTask]) -> Any:
    """``task``, of which ``defaults`` are what it does not say itself, with protection.

    It is the same object, of another class; one that another app has made its own is copied.
    """
    if isinstance(task, Proxy):
        task = task._get_current_object()  # noqa: SLF001 - Celery's own name for it
    if not isinstance(task, celery.Task):
        return task
    if isinstance(task, Protected):
        if task.nightshift is services:
            return task
        task = _copy(task)
    own = type(task)
    bases: tuple[type, ...] = (own,) if issubclass(own, Protected) else (Protected, own)
    if not issubclass(own, defaults) and not (issubclass(own, JobTask) and is_plumbing(task.name)):
        bases = (*bases, defaults)
    described = {name: own.__dict__[name] for name in _DESCRIBES if name in own.__dict__}
    task.__class__ = type(
        own.__name__,
        bases,
        {**described, "nightshift": services, "unprotected": own, "__bound__": False},
    )
    task.__dict__.pop("_exec_options", None)
    refuse_generator(task.run, task.name or own.__name__)
    return task


def _copy(task: Any) -> Any:
    own = type(task).unprotected
    fresh = own.__new__(own)
    fresh.__dict__.update(task.__dict__)
    return fresh


def _check(said: Mapping[str, Any], task: str) -> None:
    """Raise ``ConfigurationError`` for an option that is wrong or misspelt."""

    def key(option: str) -> str:
        return f"{option} of the task {task!r}"

    values = {name: value for name, value in said.items() if not isinstance(value, (property, _Hook))}
    task_options.checked(
        {name: values[name] for name in (*task_options.EVERY_TASK, *HOOKS) if name in values}, key
    )
    for name, value in values.items():
        if (
            name.startswith("_")
            or callable(value)
            or hasattr(value, "__get__")
            or name in celery.Task.__dict__  # not hasattr(), which would bind that class to an app
        ):
            continue
        if (meant := task_options.misspelt(name)) is not None:
            raise task_options.no_such_option(key(name), value, meant)


def _complete_limits(cls: type[JobTask], said: Mapping[str, Any]) -> None:
    """Complete a pair of time limits of which only one was given, so that soft stays below hard."""
    soft, hard = cls.soft_time_limit, cls.time_limit
    pair = task_options.limits(soft, hard, "soft_time_limit" in said, "time_limit" in said)
    if pair != (soft, hard):
        cls.soft_time_limit, cls.time_limit = pair


class _Hook:
    """A hook of the user's that runs in an app context of its own: what the body left undone in its session is not the
    hook's to commit.
    """

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    def __get__(self, task: Protected | None, kind: type) -> Callable[..., Any]:
        hook: Callable[..., Any] = (
            self._hook.__get__(task, kind) if hasattr(self._hook, "__get__") else self._hook
        )
        if task is None:
            return hook

        @functools.wraps(hook)
        def in_app_context(*args: Any, **kwargs: Any) -> Any:
            with task._app_context():  # noqa: SLF001 - one class in two parts
                return hook(*args, **kwargs)

        return in_app_context


@contextmanager
def _eager(request: Any, task: Protected) -> Iterator[AttemptOutcome]:
    """A job begins in its caller's process."""
    headers = {"id": request.id, "task": task.name, "retries": request.retries}
    token = current_job.set(ref(headers, (request.delivery_info or {}).get("routing_key") or ""))
    try:
        with attempt(request.id, eager=True) as outcome:
            yield outcome
    finally:
        current_job.reset(token)


def _as_json(value: Any) -> str | None:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
    return text if len(text) <= MAX_RESULT else None


__all__ = ["Protected", "protect"]
