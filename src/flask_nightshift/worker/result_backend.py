"""The result backend as an attempt uses it: its errors do not become errors of the job.

Celery's tracer stores the result during the attempt. In stock Celery a result that cannot be stored fails the job, so
the body would run again (invariant 13), and an error that cannot be stored hides the real one. Here the job ends as its
body did. If the result backend is away, the attempt's report carries the result (``UnstoredResult``), and the worker's
main process stores it later. If no serializer accepts a result, a text that says so is stored in its place.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic
from typing import Any, NamedTuple

from celery import states
from celery.exceptions import BackendStoreError, SoftTimeLimitExceeded
from kombu.exceptions import EncodeError
from kombu.serialization import dumps, loads
from sqlalchemy import exc as sa

from ..brokers.causes import refusal
from ..brokers.failures import errors
from ..domain.job import MAX_TEXT, cut
from ..task.carried import carried

PATIENCE = 5.0
"""Seconds that an attempt waits for a result backend in a database; other backends have limits of their own."""
AWAY_FOR = 5.0
"""Seconds for which attempts do not try a result backend again that was away."""
OUTAGE = (SoftTimeLimitExceeded, sa.OperationalError, sa.InterfaceError, sa.TimeoutError)
"""Errors of a result backend that cannot be reached now. The content causes all others."""

logger = logging.getLogger("flask_nightshift.worker.telling")


class UnstoredResult(NamedTuple):
    """A job's end that the result backend has not stored yet.

    For a success ``value`` is the encoded result with its content type and encoding; for a failure it is the exception
    as ``Backend.prepare_exception`` describes it. ``errbacks``: whether the errbacks must be called.
    """

    state: str
    value: Any
    traceback: str = ""
    errbacks: bool = True


class BackendReport:
    """What one attempt could not store."""

    def __init__(self) -> None:
        self.unstored: UnstoredResult | None = None
        self.unstorable = ""
        """The text that is stored in place of a result that cannot be stored; empty if it was stored."""


_report: ContextVar[BackendReport | None] = ContextVar("nightshift_telling", default=None)
_GUARDED = "nightshift_guarded"


class Guarded:
    """Within the block, errors of ``backend`` do not reach the tracer; the value says what could not be stored."""

    __slots__ = ("_token",)

    def __init__(self, backend: Any) -> None:
        if _GUARDED not in vars(backend):
            vars(backend)[_GUARDED] = _Guard(backend)

    def __enter__(self) -> BackendReport:
        made = BackendReport()
        self._token = _report.set(made)
        return made

    def __exit__(self, *_: object) -> None:
        _report.reset(self._token)


class _Guard:
    """The calls of Celery's tracer to a result backend, each with a time limit and without errors."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._away_until = self._until = 0.0
        self._bounded = (
            _in_time if type(backend).__module__.startswith("celery.backends.database") else _at_once
        )
        self._done, self._failure = backend.mark_as_done, backend.mark_as_failure
        for name, guarded in (
            ("mark_as_done", self.done),
            ("mark_as_failure", self.failure),
            ("mark_as_retry", self._optional(backend.mark_as_retry)),
            ("store_result", self._started(backend.store_result)),
            ("_sleep", self._sleep),
        ):
            setattr(backend, name, guarded)

    def done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """As ``Backend.mark_as_done``."""
        made = _report.get()
        if made is None:
            self._done(task_id, result, request, store_result, state)
            return
        try:
            self._tell(self._done, task_id, result, request, store_result, state)
        except Exception as exc:  # noqa: BLE001 - any error: the body has returned
            if not _is_outage(exc):
                self._unstorable(made, exc, task_id, request, store_result)
                return
            self._is_away(task_id, exc)
            made.unstored = self._unstored_result(result)

    def failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """As ``Backend.mark_as_failure``."""
        made = _report.get()
        if made is None:
            self._failure(task_id, exc, traceback, request, store_result, call_errbacks, state)
            return
        try:
            self._tell(self._failure, task_id, exc, traceback, request, store_result, call_errbacks, state)
        except Exception as error:
            if not _is_outage(error):
                logger.exception("job.result_refused", extra={"job_id": task_id})
                return
            self._is_away(task_id, error)
            made.unstored = UnstoredResult(
                state, self._backend.prepare_exception(exc, "json"), str(traceback or ""), call_errbacks
            )

    def _unstorable(
        self, made: BackendReport, exc: Exception, task_id: str, request: Any, store_result: bool
    ) -> None:
        why = cut(f"{type(exc).__name__}: {exc}", MAX_TEXT)
        made.unstorable = f"<unstorable result: {why}>"
        logger.warning("job.result_unstorable", extra={"job_id": task_id, "why": why})
        if getattr(request, "chord", None):  # the chord's body needs the result and cannot get it
            self.failure(task_id, EncodeError(f"the result of {task_id} cannot be stored: {why}"), None, request,
                         store_result)  # fmt: skip
            return
        try:
            self._tell(self._done, task_id, made.unstorable, request, store_result)
        except Exception as error:
            if not _is_outage(error):
                logger.exception("job.result_refused", extra={"job_id": task_id})
                return
            self._is_away(task_id, error)
            made.unstored = self._unstored_result(made.unstorable)

    def _unstored_result(self, result: Any) -> UnstoredResult | None:
        if self._backend.serializer == "pickle":  # the main process never unpickles a job's data
            return None
        try:
            encoded = dumps(self._backend.prepare_value(result), serializer=self._backend.serializer)
        except Exception as exc:  # noqa: BLE001 - the backend would have refused it
            encoded = dumps(f"<unstorable result: {type(exc).__name__}: {exc}>", serializer="json")
        return UnstoredResult(states.SUCCESS, encoded)

    def _tell(self, call: Callable[..., object], *args: Any) -> None:
        if monotonic() < self._away_until:
            raise ConnectionError("it was away a moment ago")
        self._until = monotonic() + PATIENCE
        self._bounded(functools.partial(call, *args))

    def _sleep(self, seconds: float) -> None:
        """The wait between Celery's own retries, whose number ``result_backend_always_retry`` does not limit."""
        if _report.get() is not None and monotonic() + seconds > self._until:
            raise TimeoutError(f"it was away for {PATIENCE:g} s")
        time.sleep(seconds)

    def _is_away(self, task_id: str, exc: BaseException) -> None:
        if not isinstance(exc, SoftTimeLimitExceeded):
            self._away_until = monotonic() + AWAY_FOR
        why = refusal(exc) or f"{type(exc).__name__}: {exc}"
        logger.warning("job.result_waits", extra={"job_id": task_id, "why": why})

    def _optional(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, whose failure an attempt may ignore: the next state replaces what it stores."""

        @functools.wraps(call)
        def guarded(task_id: str, *args: Any, **options: Any) -> None:
            if _report.get() is None:
                call(task_id, *args, **options)
                return
            try:
                self._tell(functools.partial(call, task_id, *args, **options))
            except Exception as exc:
                if not _is_outage(exc):
                    logger.exception("job.result_refused", extra={"job_id": task_id})
                    return
                self._is_away(task_id, exc)

        return guarded

    def _started(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``store_result``; the tracer itself calls it to store that an attempt has begun."""
        optional = self._optional(call)

        @functools.wraps(call)
        def guarded(task_id: str, result: Any, state: str, *args: Any, **options: Any) -> Any:
            return (optional if state == states.STARTED else call)(task_id, result, state, *args, **options)

        return guarded


def _is_outage(exc: BaseException) -> bool:
    if isinstance(exc, BackendStoreError):  # Celery raises it after its last retry
        return isinstance(exc.__cause__ or exc.__context__, (*OUTAGE, *errors()))
    return isinstance(exc, (*OUTAGE, *errors()))


def _at_once(call: Callable[[], object]) -> None:
    call()


def _in_time(call: Callable[[], object]) -> None:
    """Make the call in a thread; raises ``TimeoutError`` and abandons the thread if the database does not answer.

    The errbacks and chord bodies that it enqueues have the running job as their parent, also in its trace.
    """
    ended: list[BaseException | None] = []
    there = carried(call)

    def work() -> None:
        try:
            there()
            ended.append(None)
        except BaseException as exc:  # noqa: BLE001 - the waiting thread raises it
            ended.append(exc)

    thread = threading.Thread(target=work, name="nightshift-result", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not ended:
        raise TimeoutError(f"the database did not answer in {PATIENCE:g} s")
    if ended[0] is not None:
        raise ended[0]


def unstored_value(unstored: UnstoredResult) -> Any:
    """The decoded result of ``unstored``."""
    content_type, encoding, payload = unstored.value
    return loads(payload, content_type, encoding, accept={content_type})


__all__ = ["BackendReport", "Guarded", "UnstoredResult", "unstored_value"]
