"""The protection around every task, of whatever class: app context, checked options, and a decision about each failure.

A user's base class may be a plain ``celery.Task``, and may have its own ``__call__`` or hooks. So each task gets
a class made for it when it is registered in an app::

    Protected            the attempt, hooks in the app context, options checked
    <the task's class>   with the user's base class, whose options win
    JobTask              the app's defaults, then ours
    celery.Task

In a worker's child process ``retry.decide`` judges at once what the body raises, while the real exception is at hand,
and the outcome goes to the parent process. The child never publishes a next state; ``worker/settlement.py`` does,
before it acknowledges (invariants 1 and 2).
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import celery
from billiard.exceptions import TimeLimitExceeded
from celery.app.task import get_actual_ignore_result
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.local import Proxy
from flask import Flask

from ..domain.context import current_job
from ..domain.job import is_celery_internal, utcnow
from ..domain.retry import Dead, decide
from ..errors import ConfigurationError
from ..lifetime.copies import OriginalOnly
from ..message.headers import ref
from ..options import task as task_options
from ..options.of_tasks import DURABLE, EVERY_TASK, HOOKS, IDEMPOTENCY_KEY, TAGS_OPTION, UNIQUE
from ..options.publish import checked
from .app_context import InContext, app_context, request_context
from .attempt_outcome import AttemptOutcome, BegunAttempt, end_of_body, failure_of, outcome_of, raised
from .base import JobTask
from .coroutines import finished
from .generators import refuse_generator
from .of_base import is_of
from .once import run_once

if TYPE_CHECKING:
    from ..services import Services

MAX_RESULT = 65_536
"""Longest result, in characters of JSON, that the journal keeps; a longer one is left out."""
_OURS = frozenset(
    {__file__, finished.__code__.co_filename, os.path.join(os.path.dirname(__file__), "coroutine_run.py")}
)
_WRITTEN = ("queue", "priority", "expires")
"""Options of ``retry_kwargs`` that go into the message."""
_ON_DUPLICATE = "on_duplicate"
_DESCRIBES = ("__module__", "__doc__", "__qualname__", "__annotations__")


class Protected(JobTask):
    """Comes before a task's own class, so that no override of a user removes the protection."""

    abstract = True

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Check the options of the task, its classes and ``task_annotations``, and complete them."""
        said = cls._said()
        _check(cls, said, str(cls.name or cls.__qualname__))
        if said.get("queue") is not None:
            # Celery would treat an attribute ``queue`` as an option of each call
            cls.job_queue, cls.queue = said["queue"], None
        _complete_limits(cls, said)
        _check_unique(cls, str(cls.name or cls.__qualname__))
        for name in HOOKS:
            hook = inspect.getattr_static(cls, name)
            if hook is not celery.Task.__dict__[name] and not isinstance(hook, _Hook):
                setattr(cls, name, _Hook(hook))
        super().on_bound(app)

    @classmethod
    def _said(cls) -> dict[str, Any]:
        """The options set for this task itself: by the decorator, its classes or annotations."""
        classes = takewhile(
            lambda each: each is not JobTask and "is_default" not in each.__dict__, cls.__mro__[:-1]
        )
        said: dict[str, Any] = {}
        for each in reversed([each for each in classes if each is not Protected]):
            said.update(each.__dict__)
        return said

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body in the app context, for a worker, ``apply()`` or a plain call."""
        request = self.request_stack.top
        if (end := end_of_body(self)) is not None:
            return end.replay(request)
        outcome = outcome_of(request)
        if outcome is not None and not outcome.begun:
            with InContext(self._app_context()):
                return self._attempt(outcome, request, super().__call__, args, kwargs)
        with self._app_context():
            if outcome is None and request is not None and request.is_eager:
                with _eager(request, self) as outcome:
                    return self._attempt(outcome, request, super().__call__, args, kwargs)
            return finished(super().__call__(*args, **kwargs), self, called_in=self._app_context)

    def _attempt(
        self, outcome: AttemptOutcome, request: Any, call: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        outcome.begun = True
        try:
            with OriginalOnly():
                if self.idempotency_key is None:
                    result = finished(call(*args, **kwargs), self)
                else:
                    body = lambda: finished(call(*args, **kwargs), self)  # noqa: E731
                    result = run_once(self, outcome, args, kwargs, body)
        except Exception as exc:
            if outcome.asked is not None and exc is not outcome.asked:
                raise outcome.asked from exc  # the body asked for the retry before this error
            if not isinstance(exc, (Ignore, Reject, Retry)):
                if (noted := raised.get()) is not None:
                    noted.append(exc)
                self._judge(outcome, exc)
            raise
        if outcome.asked is not None:  # throw=False, or the body has caught it
            raise outcome.asked
        outcome.followed = bool(request.callbacks or request.chain or request.chord)
        outcome.returned = True
        if not get_actual_ignore_result(self, request):
            with suppress(SoftTimeLimitExceeded):  # the body was in time; its value is a large one
                outcome.result = _as_json(result)
        return result

    def _judge(self, outcome: AttemptOutcome, exc: Exception) -> None:
        """Decide what follows ``exc``; raise Celery's ``Retry`` for a retry, so that Celery's hooks see one."""
        policy = self.policy.limited_to(outcome.max_retries) if outcome.has_max_retries else self.policy
        decision = decide(
            policy,
            retriable=isinstance(exc, TimeLimitExceeded)
            or self.retriable(exc),  # as of a process that is killed
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
        """The context of the body and of the hooks."""
        app: Flask = self.nightshift.app
        return request_context(app, self.name) if self.request_context else app_context(app)


def run_body(task: Protected, outcome: AttemptOutcome, request: Any, args: Any, kwargs: Any) -> Any:
    """Run the body as Celery's tracer does for a task without a ``__call__`` of its own."""
    request._protected = 1  # noqa: SLF001 - as Celery's own ``__call__`` does, so that the body may call its task
    with InContext(task._app_context()):  # noqa: SLF001 - one class in two parts
        return task._attempt(outcome, request, task.run, args, kwargs)  # noqa: SLF001


def protect(task: Any, services: Services, defaults: type[JobTask]) -> Any:
    """``task`` with protection; ``defaults`` are the app's, for options that the task does not set.

    It is the same object with another class; a task that another app has protected is copied.
    """
    if isinstance(task, Proxy):
        task = task._get_current_object()  # noqa: SLF001 - Celery offers no public name
    if not isinstance(task, celery.Task):
        return task
    if isinstance(task, Protected):
        if task.nightshift is services:
            return task
        task = _copy(task)
    own = type(task)
    bases: tuple[type, ...] = (own,) if issubclass(own, Protected) else (Protected, own)
    if not issubclass(own, defaults) and not (issubclass(own, JobTask) and is_celery_internal(task.name)):
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


def _check(cls: type[JobTask], said: Mapping[str, Any], task: str) -> None:
    """Raise ``ConfigurationError`` for a wrong or misspelt option."""

    def key(option: str) -> str:
        return f"{option} of the task {task!r}"

    values = {name: value for name, value in said.items() if not isinstance(value, (property, _Hook))}
    task_options.checked(
        {
            name: values[name]
            for name in (
                *EVERY_TASK,
                *UNIQUE,
                *HOOKS,
                IDEMPOTENCY_KEY,
                DURABLE,
                TAGS_OPTION,
            )
            if name in values and not _is_method(cls, name)
        },
        key,
    )
    for name, value in values.items():
        if (
            name.startswith("_")
            or callable(value)
            or hasattr(value, "__get__")
            or name in celery.Task.__dict__  # hasattr() would bind that class to an app
        ):
            continue
        if (meant := task_options.misspelt(name)) is not None and not is_of(cls, name):
            raise task_options.no_such_option(key(name), value, meant)


def _check_unique(cls: type[JobTask], task: str) -> None:
    """Check the options of a unique task as the task has them, wherever they come from."""
    names = (*UNIQUE, DURABLE, "acks_late")
    if cls.unique and _is_method(cls, _ON_DUPLICATE):
        allowed = (
            "a base class has a method of this name, and a lock of its own: leave out that class, or unique"
        )
        raise ConfigurationError(f"{_ON_DUPLICATE} of the task {task!r}", cls.on_duplicate, allowed)
    task_options.check_unique(
        {name: None if _is_method(cls, name) else getattr(cls, name) for name in names},
        lambda option: f"{option} of the task {task!r}",
    )


def _is_method(cls: type[JobTask], name: str) -> bool:
    """Whether the option ``name`` is a method of a base class from elsewhere, such as celery-singleton's."""
    return name == _ON_DUPLICATE and inspect.isfunction(inspect.getattr_static(cls, name))


def _complete_limits(cls: type[JobTask], said: Mapping[str, Any]) -> None:
    """Complete the time limits if only one was given, so that the soft one stays below the hard one."""
    soft, hard = cls.soft_time_limit, cls.time_limit
    pair = task_options.limits(soft, hard, "soft_time_limit" in said, "time_limit" in said)
    if pair != (soft, hard):
        cls.soft_time_limit, cls.time_limit = pair


class _Hook:
    """A user's hook, which runs in its own app context, so that it cannot commit what the body left in its database
    session.
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
                return finished(hook(*args, **kwargs), task, bounded=False)

        return in_app_context


@contextmanager
def _eager(request: Any, task: Protected) -> Iterator[AttemptOutcome]:
    """Begin an attempt in its caller's process."""
    headers = {"id": request.id, "task": task.name, "retries": request.retries}
    token = current_job.set(ref(headers, (request.delivery_info or {}).get("routing_key") or ""))
    try:
        with BegunAttempt(request.id, eager=True) as outcome:
            yield outcome
    finally:
        current_job.reset(token)


def _as_json(value: Any) -> str | None:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
    return text if len(text) <= MAX_RESULT else None


__all__ = ["Protected", "protect", "run_body"]
