"""What Celery's own hooks are told of an attempt that ended in the parent process: exactly once, and afterwards.

Celery's tracer does this in the child. A child that was killed could not, and stock Celery forgets
``on_failure`` then, or fires ``task_failure`` twice. By now the job is settled, so whatever a hook or the
result backend does, an error of theirs is only logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import signals, states

from .attempt import exception_of

logger = logging.getLogger(__name__)


def failed(request: Any, exc_info: Any) -> None:
    """The job is dead: the result backend (and so errbacks and chords), ``on_failure``, ``task_failure``,
    ``after_return``.
    """
    exc = exception_of(exc_info)
    with _logged(request, "the result backend"):
        request.task.backend.mark_as_failure(
            request.id, exc, request=_context(request), store_result=request.store_errors
        )
    request.task.request_stack.push(_context(request))
    try:
        with _logged(request, "on_failure"):
            request.task.on_failure(exc, request.id, request.args, request.kwargs, exc_info)
            signals.task_failure.send(
                sender=request.task, task_id=request.id, exception=exc, args=request.args,
                kwargs=request.kwargs, traceback=exc_info.traceback, einfo=exc_info,
            )  # fmt: skip
        with _logged(request, "after_return"):
            request.task.after_return(states.FAILURE, exc, request.id, request.args, request.kwargs, exc_info)
    finally:
        request.task.request_stack.pop()


def retried(request: Any, exc_info: Any) -> None:
    """Another attempt follows: ``on_retry`` and ``task_retry``."""
    exc = exception_of(exc_info)
    with _logged(request, "on_retry"):
        request.task.on_retry(exc, request.id, request.args, request.kwargs, exc_info)
        signals.task_retry.send(sender=request.task, request=_context(request), reason=exc, einfo=exc_info)


def revoked(request: Any, reason: str, *, terminated: bool, signum: Any, expired: bool) -> None:
    """It will not run, or was stopped: the result backend and ``task_revoked``."""
    with _logged(request, "the result backend"):
        request.task.backend.mark_as_revoked(
            request.id, reason, request=_context(request), store_result=request.store_errors
        )
    with _logged(request, "task_revoked"):
        signals.task_revoked.send(
            request.task, request=_context(request), terminated=terminated, signum=signum, expired=expired
        )


def _context(request: Any) -> Any:
    return request._context  # noqa: SLF001 - what Celery's own request hands to hooks


@contextmanager
def _logged(request: Any, who: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("%s of %s raised; the job is settled all the same", who, request.humaninfo())
