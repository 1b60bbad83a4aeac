"""The task class: the options of a task, and the methods that its body can call.

``JobTask`` holds the defaults of all tasks and extends Celery's methods (``retry``, ``apply``, ``progress``);
``enqueuing.py`` has those that enqueue jobs. ``protection.py`` guards an attempt of a task of any class.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from celery.exceptions import Retry
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.exceptions import EncodeError

from ..domain.job import Failure, utcnow
from ..domain.retry import Dead, RetryPolicy, decide
from ..errors import PermanentFailure
from ..message.codec import serialized
from ..options.call import arguments_of_retry, checked_call, unencodable_argument
from ..options.publish import checked_retry
from .attempt_outcome import AttemptOutcome, failure_of, outcome_of
from .current import checked as checked_progress
from .enqueuing import EnqueuingTask


class JobTask(EnqueuingTask):
    """A Celery task that runs in the app context and whose jobs do not get lost.

    The attributes below are the defaults. ``NIGHTSHIFT_TASK_DEFAULTS`` changes them for an app, and the decorator's
    options for one task. They have Celery's names and meanings, except ``queue``, the queue of the task's jobs, and
    ``retry_backoff``, the first wait in seconds, which doubles with each retry.
    """

    abstract = True
    Request = "flask_nightshift.worker.request:JobRequest"

    acks_late = True
    acks_on_failure = True
    acks_on_timeout = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False  # we settle the job of a lost child, within max_retries
    retry_on_worker_lost = False
    autoretry_for: ClassVar[tuple[type[BaseException], ...]] = (Exception,)
    dont_autoretry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    max_retries = 5
    retry_backoff: float | bool = 2
    retry_backoff_max = 600
    retry_jitter = True
    retry_kwargs: ClassVar[dict[str, Any]] = {}
    soft_time_limit: float | None = 300
    time_limit: float | None = 330
    job_queue: str | None = None
    durable: bool = False
    request_context: bool = False
    tags: ClassVar[tuple[str, ...]] = ()
    idempotency_key: ClassVar[Any] = None
    unique: str | bool | None = None
    unique_key: ClassVar[Any] = None
    unique_for: float | None = None
    on_duplicate: str | None = None
    on_expired: str | None = None

    #: Without this attribute, Celery would wrap ``run`` with its own retries.
    _orig_run = None

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
        """Whether to retry after ``exc``: it is in ``autoretry_for``, and no option rules it out.

        A group, as a ``TaskGroup`` raises it, is retried if all its errors are, and not if one of them is ruled out.
        """
        ruled_out: tuple[type[BaseException], ...] = (PermanentFailure, *self.dont_autoretry_for)
        wanted, parts = tuple(self.autoretry_for), list(_parts(exc))
        return (isinstance(exc, wanted) or all(isinstance(each, wanted) for each in parts)) and not any(
            isinstance(each, ruled_out) for each in (exc, *parts)
        )

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

        It publishes nothing: the worker writes the retry and releases the job in one step, so neither a crash nor a
        broker outage can lose it. Without ``countdown`` (seconds) or ``eta`` the wait is the task's backoff. With
        ``throw=False`` the body continues, and the job is retried however the body ends; the same holds if the body
        catches the ``Retry`` that this raises. ``options`` may hold ``queue``, ``priority`` and ``expires`` (seconds
        from now, or a moment).

        Raises ``exc``, or ``MaxRetriesExceededError``, if no retry is left, and the job dies. Raises ``ValueError`` for
        an option that cannot be written.
        """
        request, outcome = self.request, outcome_of(self.request)
        if outcome is None or outcome.eager:
            return self._retry_here(outcome, (args, kwargs, exc, throw, eta, countdown, max_retries), options)
        asked_for = {"max_retries": max_retries, "countdown": countdown, "eta": eta, **options}
        options = checked_retry(asked_for, self.app.timezone)
        if options.get("queue"):
            self.nightshift.broker.queue(options["queue"])  # refuses a name that RabbitMQ does not allow
        policy = self.policy if max_retries is None else self.policy.limited_to(max_retries)
        outcome.max_retries, outcome.has_max_retries = policy.max_retries, True
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
            outcome.body = self._new_body(args, kwargs)
        outcome.decision, outcome.options = decision, options
        outcome.failure = _why(exc)
        outcome.asked = Retry(exc=exc, when=decision.at)
        if throw:
            raise outcome.asked
        return outcome.asked

    def _retry_here(
        self, outcome: AttemptOutcome | None, call: tuple[Any, ...], options: dict[str, Any]
    ) -> Retry:
        """Celery's own ``retry()``, for an eager job (``apply()``) or a plain call, in which it raises the error."""
        try:
            asked: Retry = super().retry(*call, **options)
        except Retry as exc:
            if outcome is not None:
                outcome.asked = exc
            raise
        if outcome is not None:
            outcome.asked = asked
        return asked

    def _give_up(self, exc: BaseException | None) -> NoReturn:
        if isinstance(exc, BaseException):
            raise exc
        raise self.MaxRetriesExceededError(
            f"{self.name}[{self.request.id}] has used up its {self.request.retries} retries",
            task_args=self.request.args,
            task_kwargs=self.request.kwargs,
        )

    def _new_body(self, args: Any, kwargs: Any) -> tuple[str, str, bytes]:
        """The message body with other arguments: ``(content_type, content_encoding, bytes)``."""
        request = self.request
        embed = {name: getattr(request, name) for name in ("callbacks", "errbacks", "chain", "chord")}
        payload = (*arguments_of_retry(self.run, (request.args, request.kwargs), args, kwargs), embed)
        serializer = self.serializer or "json"
        try:
            return serialized(payload, serializer)
        except EncodeError as exc:
            raise (
                unencodable_argument(
                    self.name, self.run, payload[0], payload[1], serializer, self.nightshift.redaction
                )
                or exc
            ) from exc

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the body in this process, as in Celery; an option that a real call would refuse raises an error.

        With ``throw=True``, or Celery's setting ``task_eager_propagates``, it raises what the body raised, also if the
        job would be retried.
        """
        try:
            return super().apply(args, kwargs, **checked_call(options))
        except Retry as exc:
            if isinstance(exc.exc, Exception):
                raise exc.exc from exc.exc.__cause__
            raise

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Report the progress of this job, as ``jobs.current.progress(done, total, note)`` does.

        ``jobs.job(id).progress`` and ``flask jobs show`` have it, with ``message`` as text.
        """
        note = str(message)
        outcome = outcome_of(self.request)
        if outcome is None or outcome.eager:
            checked_progress(done, total, note)
            return
        if outcome.progress is None:
            outcome.progress = self.nightshift.journal.progress(outcome.job())
        outcome.progress.say(*checked_progress(done, total, note))


def policy_of(task: Any) -> RetryPolicy:
    """The retry policy of ``task``: for one of Celery's own, and for an unknown one (None), the default."""
    return task.policy if isinstance(task, JobTask) else RetryPolicy()


def _parts(exc: BaseException) -> Iterator[BaseException]:
    """``exc``, or the errors in it if it is a group."""
    if isinstance(exc, BaseExceptionGroup):
        for each in exc.exceptions:
            yield from _parts(each)
    else:
        yield exc


def _why(exc: Any) -> Failure:
    """Why a task asks for another attempt; ``exc`` should be an exception, but Celery accepts anything."""
    if isinstance(exc, BaseException):
        return failure_of(exc)
    return Failure("retry", "the task asked for another attempt" if exc is None else str(exc))


def _seconds(eta: datetime | str | None, countdown: float | None, timezone: Any) -> float | None:
    """The wait in seconds that the caller of ``retry()`` asked for; None if it asked for none."""
    if eta is None:
        return countdown
    moment = maybe_make_aware(maybe_iso8601(eta), timezone)
    return float((moment - utcnow()).total_seconds())


__all__ = ["JobTask", "policy_of"]
