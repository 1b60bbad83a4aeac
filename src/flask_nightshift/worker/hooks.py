"""Celery's hooks and signals for a job that the parent process settled: each called exactly once, after the settlement.

Celery's tracer calls them in the child. A killed child cannot, so stock Celery then omits ``on_failure`` or sends
``task_failure`` twice. Here the job is settled before any hook runs, so an error in a hook is only logged. The
announcer stores the result, because the result backend may be away.
"""

from __future__ import annotations

import builtins
import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals, states
from celery.exceptions import Reject, TaskRevokedError
from celery.utils.serialization import create_exception_cls

from ..domain.job import Failure
from ..lifetime.fork_gate import gate
from ..text.lines import Line
from .attempt import exception_of
from .result_backend import UnstoredResult, unstored_value

logger = logging.getLogger(__name__)


def info(exc: BaseException, traceback: str = "") -> ExceptionInfo:
    """Celery's exception info for ``exc``; ``traceback``: the text to show if the exception has lost its own."""
    try:
        raise exc
    except BaseException:  # noqa: BLE001 - this is ``exc``
        made = ExceptionInfo()
    if traceback:
        made.traceback = traceback
    return made


def exception_like(failure: Failure) -> Exception:
    """An exception with the name and message of ``failure``, whose own class may be missing or untrusted."""
    module, _, name = failure.error.rpartition(".")
    known = getattr(builtins, name, None) if not module else None
    if not (isinstance(known, type) and issubclass(known, Exception)):
        known = create_exception_cls(name, module or "builtins")
    try:
        return known(failure.message)
    except Exception:  # noqa: BLE001 - its class takes other arguments
        return Exception(str(failure))


def failed(request: Any, exc_info: Any) -> None:
    """A job has died: store the result (which calls errbacks and chords), then call ``on_failure``, ``task_failure``
    and ``after_return``.
    """
    exc = exception_of(exc_info)
    tell(request, failure_of(request, exc, str(exc_info.traceback or "")))
    request.task.request_stack.push(_context(request))
    try:
        with _logged(request, "on_failure"):
            if not isinstance(exc, Reject):  # Celery does not call it if the task rejected its job
                request.task.on_failure(exc, request.id, request.args, request.kwargs, exc_info)
        with _logged(request, "task_failure"):
            signals.task_failure.send(
                sender=request.task, task_id=request.id, exception=exc, args=request.args,
                kwargs=request.kwargs, traceback=exc_info.traceback, einfo=exc_info,
            )  # fmt: skip
        with _logged(request, "after_return"):
            if not isinstance(exc, Reject):
                request.task.after_return(
                    states.FAILURE, exc, request.id, request.args, request.kwargs, exc_info
                )
    finally:
        request.task.request_stack.pop()


def retried(request: Any, exc_info: Any) -> None:
    """Another attempt follows: call ``on_retry`` and ``task_retry``."""
    exc = exception_of(exc_info)
    with _logged(request, "on_retry"):
        request.task.on_retry(exc, request.id, request.args, request.kwargs, exc_info)
    with _logged(request, "task_retry"):
        signals.task_retry.send(sender=request.task, request=_context(request), reason=exc, einfo=exc_info)


def revoked(request: Any, reason: str, *, terminated: bool, signum: Any, expired: bool) -> None:
    """A job will not run, or was stopped: store the result and send ``task_revoked``."""
    tell(request, revocation_of(request, reason))
    with _logged(request, "task_revoked"):
        signals.task_revoked.send(
            request.task, request=_context(request), terminated=terminated, signum=signum, expired=expired
        )


def store_later(request: Any, what: UnstoredResult) -> None:
    """Store what the attempt could not store in the result backend."""
    context, store = _context(request), not request.ignore_result

    def call() -> None:
        backend = request.task.backend
        with gated(backend):
            if what.state == states.SUCCESS:
                backend.mark_as_done(request.id, unstored_value(what), context, store)
            else:
                exc = backend.exception_to_python(what.value)
                backend.mark_as_failure(
                    request.id,
                    exc,
                    what.traceback or None,
                    context,
                    request.store_errors,
                    what.errbacks,
                    what.state,
                )

    tell(request, call)


def failure_of(request: Any, exc: BaseException, traceback: str = "") -> Callable[[], None]:
    """A call that stores the failure ``exc`` and informs the chord, the chain and the errbacks."""

    def call() -> None:
        backend = request.task.backend
        with gated(backend):
            backend.mark_as_failure(
                request.id, exc, traceback or None, _context(request), store_result=request.store_errors
            )

    return call


def revocation_of(request: Any, reason: str) -> Callable[[], None]:
    """A call that stores that a job was cancelled or has expired, and informs the chord, the chain and the errbacks."""

    def call() -> None:
        backend = request.task.backend
        with gated(backend):
            # not ``mark_as_revoked``, which tells neither the errbacks nor the rest of a chain
            backend.mark_as_failure(
                request.id,
                TaskRevokedError(reason),
                None,
                _context(request),
                store_result=request.store_errors,
                state=states.REVOKED,
            )

    return call


def tell(request: Any, call: Callable[[], None]) -> None:
    """Hand ``call`` to the announcer; the errbacks that it enqueues follow the job in its trace."""
    tracing = request.app.services.tracing
    if tracing is not None:
        call = tracing.following(vars(_context(request)), call)
    request.app.announcer.tell(request.id, request.type, call)


@contextmanager
def gated(backend: Any) -> Iterator[None]:
    """Within the block, this process does not fork if the result backend is on SQLite."""
    at_work = gate.inside() if "sqlite" in str(getattr(backend, "url", "")) else contextlib.nullcontext()
    with at_work:
        yield


def _context(request: Any) -> Any:
    return request._context  # noqa: SLF001 - Celery's request passes it to hooks


@contextmanager
def _logged(request: Any, who: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        text = f"{who} raised; the job is settled all the same"
        logger.exception(Line("job.hook_failed", text, job_id=request.id, task=request.type))
