"""Decides whether a job is ordinary, so that it may run without Celery's tracer (``short_way.py``).

It is if nobody could tell the difference: no signal of the tracer has a receiver, no hook is overridden, no result is
wanted, nothing follows the job, and no library has replaced a part of the tracer, as Sentry does. A failed job is not
ordinary any more; the tracer gets what its body raised.

The decision is pure. Its parts about the task are kept until something that they depend on is replaced.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import celery
from celery import signals
from celery.app import task as celery_task
from celery.app import trace
from celery.backends.base import Backend, DisabledBackend
from celery.loaders.base import BaseLoader

from ..logs.duplicates import repeats_ours
from ..task.protection import Protected

celerys_way_only = False
"""Whether every job goes through Celery's tracer; only tests set it."""


class Refusal(enum.StrEnum):
    """Why a job needs Celery's tracer."""

    FORCED = "a test wants Celery's way"
    NO_WORKER = "the process is not set up as one of Celery's worker processes"
    REPLACED = "another library has replaced a part of Celery's tracer"
    CALL = "the task has a __call__ of its own"
    HOOK = "the task has a hook that runs when it begins or ends"
    LOADER = "the app's loader has hooks of its own"
    BACKEND = "the result backend hears of the end of each job"
    DEDUPLICATED = "the worker skips jobs that have succeeded before"
    RECEIVER = "a signal of the tracer has a receiver"
    LOGGED = "Celery's line about a success is logged"
    ARGUMENTS = "its arguments are not decoded yet, or malformed"
    RESULT = "its result is wanted"
    CANVAS = "it belongs to a canvas, or something follows it"
    STAMPED = "it is stamped"


class Ordinary:
    """Which jobs of this process are ordinary."""

    def __init__(self) -> None:
        self._examined: dict[str, tuple[tuple[Any, ...], Refusal | None]] = {}

    def refusal(self, task: Any, request: Mapping[str, Any], body: Any, content_type: Any) -> Refusal | None:
        """Why the job does not run the short way; None if it does. The arguments are those of the tracer."""
        depends_on = _dependencies(task)
        known = self._examined.get(task.name)
        if known is None or known[0] != depends_on:
            known = self._examined[task.name] = depends_on, of_task(task)
        return known[1] or of_moment() or of_job(task, request, body, content_type)


def of_moment() -> Refusal | None:
    """Why no job may run the short way now."""
    if celerys_way_only:
        return Refusal.FORCED
    if signals.task_prerun.receivers or has_late_receivers():
        return Refusal.RECEIVER
    if trace.logger.isEnabledFor(logging.INFO) and not repeats_ours(trace.logger, trace.LOG_SUCCESS):
        return Refusal.LOGGED
    return None


def has_late_receivers() -> bool:
    """Whether a signal that the tracer sends after a success has receivers."""
    return bool(signals.task_postrun.receivers or signals.task_success.receivers)


def of_job(task: Any, request: Mapping[str, Any], body: Any, content_type: Any) -> Refusal | None:
    """Why this job of an ordinary task may not run the short way."""
    if content_type or not _is_well_formed(body):
        return Refusal.ARGUMENTS
    ignored = request.get("ignore_result")
    if not (task.ignore_result if ignored is None else ignored) and not _keeps_nothing(task.backend):
        return Refusal.RESULT
    embed = body[2]
    if request.get("group") or (
        embed and (embed.get("callbacks") or embed.get("chain") or embed.get("chord"))
    ):
        return Refusal.CANVAS
    if request.get("stamped_headers") or request.get("stamps"):
        return Refusal.STAMPED
    return None


def of_task(task: Any) -> Refusal | None:
    """Why no job of this task may run the short way."""
    if not trace._localized:  # noqa: SLF001 - as Celery's fast tracer looks
        return Refusal.NO_WORKER
    if not all(map(_is_celerys, _parts(task))) or not _calls(task.__trace__, task):
        return Refusal.REPLACED
    if not isinstance(task, Protected) or _has_own_call(type(task)):
        return Refusal.CALL
    if any(trace.task_has_custom(task, hook) for hook in ("before_start", "on_success", "after_return")):
        return Refusal.HOOK
    if not _has_base(task.app.loader, BaseLoader, "on_task_init", "on_process_cleanup"):
        return Refusal.LOADER
    if not _has_base(task.backend, Backend, "mark_as_done", "process_cleanup"):
        return Refusal.BACKEND
    if task.app.conf.worker_deduplicate_successful_tasks:
        return Refusal.DEDUPLICATED
    return None


def _dependencies(task: Any) -> tuple[Any, ...]:
    """What ``of_task`` depends on and may change while a worker runs. It is compared for each job."""
    return (
        task.__trace__,
        type(task).__call__,
        celery.Task.__call__,
        trace.build_tracer,
        trace.fast_trace_task,
        trace.Context.__init__,
    )


def _parts(task: Any) -> tuple[Any, ...]:
    """The parts of Celery's tracer that libraries replace."""
    return (
        task.__trace__,
        celery.Task.__call__,
        trace.build_tracer,
        trace.fast_trace_task,
        trace.trace_task,
        trace.trace_task_ret,
        trace.Context.__init__,
        trace.Context.update,
    )


def _is_celerys(part: Any) -> bool:
    """Whether ``part`` is a function of Celery's own, and no wrapper of it, which would look like it."""
    return type(part) is FunctionType and part.__code__.co_filename in (trace.__file__, celery_task.__file__)


def _calls(tracer: FunctionType, task: Any) -> bool:
    """Whether ``tracer`` calls this very task, and so would get the end of its body."""
    names, cells = tracer.__code__.co_freevars, tracer.__closure__ or ()
    return "fun" in names and cells[names.index("fun")].cell_contents is task


def _has_own_call(cls: type) -> bool:
    ours: Callable[..., Any] = Protected.__call__
    return cls.__call__ is not ours or any(
        "__call__" in vars(each) for each in cls.__mro__ if each not in (Protected, celery.Task)
    )


def _has_base(target: Any, base: type, *names: str) -> bool:
    """Whether methods of ``target`` are those of its base class."""
    return all(getattr(type(target), name, None) is getattr(base, name) for name in names)


def _is_well_formed(body: Any) -> bool:
    return (
        isinstance(body, (list, tuple))
        and len(body) == 3
        and isinstance(body[0], (list, tuple))
        and isinstance(body[1], dict)
        and (not body[2] or isinstance(body[2], dict))
    )


def _keeps_nothing(backend: Any) -> bool:
    return type(backend) is DisabledBackend


__all__ = ["Ordinary", "Refusal", "has_late_receivers", "of_job", "of_moment", "of_task"]
