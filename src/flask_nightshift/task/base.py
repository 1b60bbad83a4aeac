"""The task class: the options of a task, and the methods that its body can call.

``JobTask`` holds the defaults of all tasks and extends Celery's methods (``retry``, ``enqueue_many``, ``progress``).
``protection.py`` guards an attempt of a task of any class.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from celery.exceptions import Retry
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu.exceptions import EncodeError

from ..domain.job import Failure, utcnow
from ..domain.retry import Dead, RetryPolicy, decide
from ..enqueue.items import arguments_of
from ..errors import DuplicateJob, PermanentFailure
from ..message.codec import serialized
from ..options.call import arguments_of_retry, checked_call, unencodable_argument
from ..options.publish import checked_retry
from .attempt_outcome import AttemptOutcome, failure_of, outcome_of
from .current import checked as checked_progress
from .results import ResultTask

if TYPE_CHECKING:
    from ..services import Services


class JobTask(ResultTask):
    """A Celery task that runs in the app context and whose jobs do not get lost.

    The attributes below are the defaults. ``NIGHTSHIFT_TASK_DEFAULTS`` changes them for an app, and the decorator's
    options for one task. They have Celery's names and meanings, except ``queue``, the queue of the task's jobs, and
    ``retry_backoff``, the first wait in seconds, which doubles with each retry.
    """

    abstract = True
    Request = "flask_nightshift.worker.request:JobRequest"

    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False  # we settle the job of a lost child, within max_retries
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
    tags: ClassVar[tuple[str, ...]] = ()
    idempotency_key: ClassVar[Any] = None
    unique: str | bool | None = None
    unique_key: ClassVar[Any] = None
    unique_for: float | None = None
    on_duplicate: str | None = None
    on_expired: str | None = None

    #: Without this attribute, Celery would wrap ``run`` with its own retries.
    _orig_run = None

    nightshift: ClassVar[Services]

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
        """Whether to retry after ``exc``: it is in ``autoretry_for``, and no option rules it out."""
        ruled_out: tuple[type[BaseException], ...] = (PermanentFailure, *self.dont_autoretry_for)
        return isinstance(exc, tuple(self.autoretry_for)) and not isinstance(exc, ruled_out)

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

    def enqueue_many(self, items: Iterable[Any], **options: Any) -> list[str]:
        """Enqueue one job per item, much faster than one ``delay()`` per item; returns the job ids in order.

        An item is a tuple (or list) of positional arguments or a dict of keyword arguments. ``options`` apply to every
        job: ``apply_async``'s ``countdown``, ``durable``, ``eta``, ``expires``, ``headers``, ``ignore_result``,
        ``link``, ``link_error``, ``priority``, ``queue``, ``serializer``, ``soft_time_limit``, ``tags``,
        ``time_limit``, ``unique``, ``unique_for``, ``on_duplicate`` and ``on_expired``. It checks and encodes
        every item before it sends the first, so memory holds them all.

        Raises ``TypeError`` if the task does not accept an item's arguments, before anything is enqueued. Raises
        ``BrokerUnavailable``, whose ``enqueued`` has the ids of the jobs accepted before, and ``DuplicateJob``, whose
        ``enqueued`` has the ids of the other jobs.
        """
        calls = arguments_of(self, items, options, self.nightshift.texts(self))
        app = self._get_app()
        ids: list[str] | None = None
        if calls and not app.conf.task_always_eager and self._dump_pydantic_arguments is None:
            ids = app.publisher.many(self, calls, options)
        if ids is None:
            ids = self._enqueue_each(calls, options)
        return ids

    def _enqueue_each(self, calls: Iterable[Any], options: dict[str, Any]) -> list[str]:
        ids: list[str] = []
        refusal: DuplicateJob | None = None
        for args, kwargs in calls:
            try:
                ids.append(self.apply_async(args, kwargs, **options).id)
            except DuplicateJob as exc:
                refusal = refusal or exc
        if refusal is not None:
            refusal.enqueued = tuple(ids)
            raise refusal
        return ids

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a job with the transaction of Flask-SQLAlchemy's session: see ``apply_async_on_commit``."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Any = None, kwargs: Any = None, *, session: Any = None, **options: Any
    ) -> Any:
        """Enqueue a job with a transaction: it is published after the commit, and not at all after a rollback.

        The job's message is written in the transaction, so a crash after the commit does not lose it. ``session`` is a
        SQLAlchemy ``Session``, ``scoped_session`` or ``Connection`` (default: Flask-SQLAlchemy's session), and begins a
        transaction as any statement does. ``options`` are those of ``apply_async``; ``countdown`` counts from this
        call. Returns the job's ``AsyncResult``.

        Needs the database and no broker. Raises ``InvalidOption`` for a session of a database that no relay reads, or
        for an option that needs Celery's producer; ``DatabaseUnavailable`` if the database has no outbox; and
        ``UnencodableArgument``.
        """
        return self.nightshift.outbox.on_commit(self.apply_async, args, kwargs, session=session, **options)

    def enqueue_many_on_commit(
        self, items: Iterable[Any], *, session: Any = None, **options: Any
    ) -> list[str]:
        """Enqueue one job per item with a transaction, as ``enqueue_many`` and ``apply_async_on_commit`` together."""
        return self.nightshift.outbox.on_commit(self.enqueue_many, items, session=session, **options)

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


__all__ = ["JobTask"]
