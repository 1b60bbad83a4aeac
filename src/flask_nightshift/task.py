"""The task class: where a job is described, and where its body runs.

In a worker's child process the body runs inside the app context; what it raises is judged at once by
``retry.decide``, where the real exception is at hand, and the verdict is noted for the parent process. The
child never publishes a next state: ``worker/settle.py`` does, before it acknowledges (invariants 1 and 2).
"""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import celery
from celery.app.task import get_actual_ignore_result
from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from celery.utils.time import maybe_iso8601, maybe_make_aware
from flask import Flask, current_app, has_app_context
from kombu.serialization import dumps

from .context import current_job
from .enqueue import arguments_of
from .errors import PermanentFailure
from .job import Failure, JobRef, utcnow
from .message import history, ref
from .options import checked
from .retry import Dead, Decision, RetryPolicy, decide

if TYPE_CHECKING:
    from .runtime import Runtime

HARD_LIMIT_MARGIN = 30
"""Seconds between the soft and the hard time limit when only one of them is given."""

MAX_RESULT = 65_536
"""Characters of a result, as JSON, that the journal keeps; a longer one is left out."""

_RETRY_OPTIONS = frozenset({"queue", "priority", "expires"})


@dataclass(slots=True)
class Verdict:
    """What the child found out about one attempt, for the parent to act upon.

    Lives in the request dict under ``Verdict.KEY`` while the body runs. ``decision`` is what follows a
    failure, ``failure`` that one as text; ``body`` the new message body when it is to be retried with other
    arguments; ``options`` what it asked for besides (``queue``, ``priority``, ``expires``); ``result`` the
    return value as JSON text, when the task keeps results and it has no more than ``MAX_RESULT`` characters.
    """

    KEY: ClassVar[str] = "nightshift_verdict"

    decision: Decision | None = None
    failure: Failure | None = None
    body: tuple[str, str, bytes] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    asked: Retry | None = None
    max_retries: int | None = None
    has_max_retries: bool = False
    result: str | None = None


class JobTask(celery.Task):
    """A Celery task that runs in the app context and whose jobs do not get lost.

    The attributes below are the defaults; ``NIGHTSHIFT_TASK_DEFAULTS`` changes them for an app, the
    decorator's options for one task. They carry Celery's names and meanings, but for ``queue``, which is the
    queue that jobs go to, and ``retry_backoff``, the first wait in seconds, doubled with each retry.
    """

    abstract = True
    Request = "flask_nightshift.worker.request:JobRequest"

    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False  # a lost child is settled by us, within max_retries
    autoretry_for: ClassVar[tuple[type[BaseException], ...]] = (Exception,)
    dont_autoretry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    max_retries = 5
    retry_backoff: float | bool = 2
    retry_backoff_max = 600
    retry_jitter = True
    retry_kwargs: ClassVar[dict[str, Any]] = {}
    soft_time_limit = 300
    time_limit = 330
    ignore_result = True
    job_queue: str | None = None

    #: Celery wraps ``run`` with its own retries unless this attribute exists; the verdict is ours to make.
    _orig_run = None

    nightshift: ClassVar[Runtime]

    @classmethod
    def on_bound(cls, app: Any) -> None:  # noqa: ARG003 - Celery's signature
        """Complete a pair of time limits of which only one was given, so that soft stays below hard."""
        own = cls.__dict__
        soft, hard = own.get("soft_time_limit"), own.get("time_limit")
        if soft and not hard and soft >= cls.time_limit:
            cls.time_limit = soft + HARD_LIMIT_MARGIN
        elif hard and not soft and cls.soft_time_limit >= hard:
            cls.soft_time_limit = max(hard - HARD_LIMIT_MARGIN, hard * 0.9)

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy of this task."""
        wanted = dict(self.retry_kwargs or {})
        return RetryPolicy(
            max_retries=wanted.get("max_retries", self.max_retries),
            backoff=0 if "countdown" in wanted else float(self.retry_backoff or 0),
            backoff_max=float(self.retry_backoff_max),
            jitter=bool(self.retry_jitter),
            delay=float(wanted.get("countdown", self.default_retry_delay) or 0),
        )

    def retriable(self, exc: BaseException) -> bool:
        """Whether another attempt may mend ``exc``: in ``autoretry_for`` and nowhere ruled out."""
        ruled_out: tuple[type[BaseException], ...] = (PermanentFailure, *self.dont_autoretry_for)
        return isinstance(exc, tuple(self.autoretry_for)) and not isinstance(exc, ruled_out)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body in the app context: called by a worker, by ``apply()``, or as a plain function."""
        request = self.request_stack.top
        if request is None or request.called_directly or request._protected:  # noqa: SLF001 - Celery's own flag
            with self._app_context():
                return super().__call__(*args, **kwargs)
        request._protected = 1  # noqa: SLF001 - a call of the task by itself is a plain call
        with self._app_context():
            token = current_job.set(self._job_of(request))
            try:
                return self._attempt(request, args, kwargs)
            finally:
                current_job.reset(token)

    def _attempt(self, request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            result = self.run(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as exc:
            self._judge(exc)
            raise
        verdict: Verdict | None = getattr(request, Verdict.KEY, None)
        if verdict is not None and verdict.asked is not None:
            raise verdict.asked  # retry(throw=False): the job runs again now that the body has returned
        if verdict is not None and not get_actual_ignore_result(self, request):
            verdict.result = _as_json(result)
        return result

    def _judge(self, exc: Exception) -> None:
        """Note what follows ``exc``; a retry is raised as Celery's ``Retry``, so that its hooks see one."""
        request = self.request
        policy, verdict = self.policy, self._verdict
        if verdict is not None and verdict.has_max_retries:
            policy = _with_max_retries(policy, verdict.max_retries)
        decision = decide(
            policy,
            retriable=self.retriable(exc),
            retries=request.retries,
            now=utcnow(),
            rng=random.random,
        )
        if verdict is not None:
            verdict.decision, verdict.failure = decision, _failure(exc)
        if isinstance(decision, Dead):
            return
        if request.is_eager:
            raise super().retry(exc=exc, countdown=0, throw=False, max_retries=policy.max_retries)
        raise Retry(exc=exc, when=decision.at) from exc

    def retry(
        self,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | str | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Ask for another attempt, as in Celery: ``raise self.retry(countdown=60, exc=exc)``.

        Nothing is published here: the worker writes the retry and releases the job in one step, so neither a
        crash nor a broker that is away can lose it. Without ``countdown`` (seconds) or ``eta`` the wait is
        the task's backoff. With ``throw=False`` the body goes on, and the job is retried when it returns.
        ``options`` may hold ``queue``, ``priority`` and ``expires`` (seconds from now, or a moment).

        Raises ``exc``, or ``MaxRetriesExceededError``, when no retry is left, and the job dies; ``ValueError`` for
        an option that cannot be written.
        """
        request = self.request
        verdict = self._verdict
        if verdict is None or request.called_directly or request.is_eager:
            return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)
        unknown = sorted(set(options) - _RETRY_OPTIONS)
        if unknown:
            raise TypeError(
                f"retry() does not take {', '.join(unknown)}; it takes {', '.join(sorted(_RETRY_OPTIONS))}"
            )
        options = checked(options, self.app.timezone)
        if options.get("queue"):
            self.nightshift.broker.queue(options["queue"])  # RabbitMQ does not take every name
        policy = self.policy if max_retries is None else _with_max_retries(self.policy, max_retries)
        verdict.max_retries, verdict.has_max_retries = policy.max_retries, True
        decision = decide(
            policy,
            retriable=True,
            retries=request.retries,
            now=utcnow(),
            rng=random.random,
            wait=_seconds(eta, countdown, self.app.timezone),
        )
        if isinstance(decision, Dead):
            self._give_up(exc)
        if args is not None or kwargs is not None:
            verdict.body = self._new_body(args, kwargs)
        verdict.decision, verdict.options = decision, options
        verdict.failure = _failure(exc) if exc else Failure("retry", "the task asked for another attempt")
        asked = Retry(exc=exc, when=decision.at)
        if throw:
            raise asked
        verdict.asked = asked
        return asked

    def _give_up(self, exc: BaseException | None) -> NoReturn:
        if exc is not None:
            raise exc
        raise MaxRetriesExceededError(
            f"{self.name}[{self.request.id}] has used up its {self.request.retries} retries",
            task_args=self.request.args,
            task_kwargs=self.request.kwargs,
        )

    def _new_body(self, args: Any, kwargs: Any) -> tuple[str, str, bytes]:
        """The message body with other arguments: ``(content_type, content_encoding, bytes)``."""
        request = self.request
        embed = {name: getattr(request, name) for name in ("callbacks", "errbacks", "chain", "chord")}
        payload = (
            list(request.args if args is None else args),
            dict(request.kwargs if kwargs is None else kwargs),
            embed,
        )
        content_type, content_encoding, body = dumps(payload, self.serializer or "json")
        return content_type, content_encoding, body.encode() if isinstance(body, str) else body

    def enqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """Enqueue one job for each item, far faster than as many calls of ``delay()``; their ids, in order.

        An item is a tuple (or list) of positional or a dict of keyword arguments. ``options`` are
        ``apply_async``'s ``countdown``, ``eta``, ``expires``, ``headers``, ``ignore_result``, ``link``,
        ``link_error``, ``priority``, ``queue``, ``serializer``, ``soft_time_limit`` and ``time_limit``, and
        hold for all. Every item is checked and encoded before the first is sent, so memory holds them all.

        Raises ``TypeError`` for an item that is no arguments of this task (nothing is enqueued then), and
        ``BrokerUnavailable``, whose ``enqueued`` has the ids of those that were accepted before.
        """
        calls = arguments_of(self, items, options)
        app = self._get_app()
        ids: list[str] | None = None
        if calls and not app.conf.task_always_eager and self._dump_pydantic_arguments is None:
            ids = app.enqueuer.many(self, calls, options)
        if ids is None:
            ids = [self.apply_async(args, kwargs, **options).id for args, kwargs in calls]
        return ids

    def progress(self, done: float, total: float, message: str = "") -> None:
        """Report how far this job is, for ``jobs.job(id).progress`` and the status page.

        ``done`` of ``total`` in any unit. Written to the history database; when that is away, the report is
        dropped and the job goes on (invariant 7).
        """
        request = self.request
        if request.called_directly or request.is_eager or not request.id:
            return
        self.nightshift.record_progress(request.id, {"done": done, "total": total, "message": str(message)})

    @property
    def _verdict(self) -> Verdict | None:
        return getattr(self.request, Verdict.KEY, None)

    def _app_context(self) -> AbstractContextManager[Any]:
        """The app's context, unless it is there already (a direct call, or an eager one, in a request)."""
        app: Flask = self.nightshift.app
        if has_app_context() and current_app._get_current_object() is app:  # type: ignore[attr-defined]  # noqa: SLF001
            return nullcontext()
        return app.app_context()

    def _job_of(self, request: Any) -> JobRef:
        """Which attempt of which job ``request``, the context of a running task, is about."""
        past = getattr(request, "nightshift", None)
        headers = {"id": request.id, "task": self.name, "retries": request.retries, "nightshift": past}
        info = request.delivery_info or {}
        return ref(
            headers, info.get("queue") or history(headers).get("queue") or info.get("routing_key") or ""
        )


def _failure(exc: BaseException) -> Failure:
    """The failure that ``exc`` describes, its traceback from the task's own code on."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return Failure.of(exc, "".join(traceback.format_exception(type(exc), exc, frames)))


def _as_json(value: Any) -> str | None:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return None
    return text if len(text) <= MAX_RESULT else None


def _with_max_retries(policy: RetryPolicy, max_retries: int | None) -> RetryPolicy:
    return RetryPolicy(max_retries, policy.backoff, policy.backoff_max, policy.jitter, policy.delay)


def _seconds(eta: datetime | str | None, countdown: float | None, timezone: Any) -> float | None:
    """The wait in seconds that ``retry()`` was asked for, None if for none."""
    if eta is None:
        return countdown
    moment = maybe_make_aware(maybe_iso8601(eta), timezone)
    return float((moment - utcnow()).total_seconds())


__all__ = ["JobTask", "Verdict"]
