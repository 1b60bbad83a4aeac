"""The outcome of an attempt: written by the task's body and its protection, read by the worker that settles the job.

It is kept in a context variable and not in the request, because ``self.request`` shows a task what its caller sent, and
a task may send it on.
"""

from __future__ import annotations

import traceback
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from celery.app import task as celery_task
from celery.app import trace as celery_trace
from celery.exceptions import Ignore, Reject

from ..domain.context import current_job
from ..domain.job import Failure, JobRef, utcnow
from ..domain.retry import Decision
from ..errors import Cancelled
from ..journal import Progress

raised: ContextVar[list[Exception] | None] = ContextVar("nightshift_raised", default=None)
"""Takes what bodies raise, in tests; a worker keeps no exception, only its text."""


class Skipped(NamedTuple):
    """Why a body did not run although its job succeeds: the job ``by`` has done the work before."""

    by: str
    why: str


class Postponed(Reject):
    """The job waits for another one: the same attempt runs again later. Celery's tracer must not take it for an end."""

    def __init__(self, why: str) -> None:
        super().__init__(why, requeue=True)


class StoppedByCancel(Cancelled, Ignore):
    """The job was cancelled while it ran. Celery's tracer must not take it for a failure."""


@dataclass(slots=True)
class AttemptOutcome:
    """The outcome of the running attempt of job ``job_id``.

    ``decision`` follows a failure; ``failure`` is that failure as text. ``body`` is the new message body if the retry
    has other arguments. ``options`` are the retry's ``queue``, ``priority`` and ``expires``. ``asked`` is what the body
    asked for: ``celery.exceptions.Retry``, made by ``retry()``, ``Postponed`` or ``StoppedByCancel``. ``result`` is the
    return value as JSON text, if it is short and the task keeps results. ``returned``: the body has returned, so no
    later error makes it run again. ``followed``: jobs follow that are enqueued after it. ``eager``: it runs in its
    caller's process (``apply()``). ``end``: the body has run, and the tracer has not got its end yet. ``skipped``: the
    body did not run. ``progress`` takes the body's reports of its progress.
    """

    job_id: str
    eager: bool = False
    begun: bool = False
    decision: Decision | None = None
    failure: Failure | None = None
    body: tuple[str, str, bytes] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    asked: BaseException | None = None
    max_retries: int | None = None
    has_max_retries: bool = False
    result: str | None = None
    returned: bool = False
    followed: bool = False
    end: BodyEnd | None = None
    skipped: Skipped | None = None
    progress: Progress | None = None

    def job(self) -> JobRef:
        """The running attempt."""
        return current_job.get() or JobRef(self.job_id, "", "", 1)


class BodyEnd:
    """How the body of ``task`` ended, if it ran before Celery's tracer did (``worker/short_way.py``).

    ``request`` is the task's context, as the body left it. The tracer gets the end in place of another run.
    """

    __slots__ = ("_traceback", "error", "request", "task", "value")

    def __init__(
        self, task: Any, request: Any, value: Any = None, error: BaseException | None = None
    ) -> None:
        self.task, self.request, self.value, self.error = task, request, value, error
        self._traceback = error.__traceback__.tb_next if error is not None and error.__traceback__ else None

    def replay(self, request: Any) -> Any:
        """End as the body did, in ``request``."""
        vars(request).clear()
        vars(request).update(vars(self.request))
        error, self.error = self.error, None
        if error is not None:
            raise error.with_traceback(self._traceback)
        return self.value


_current: ContextVar[AttemptOutcome | None] = ContextVar("nightshift_outcome", default=None)


class BegunAttempt:
    """An attempt of the job, which lasts as long as the block; its outcome is complete when the block ends."""

    __slots__ = ("_outcome", "_token")

    def __init__(self, job_id: str, *, eager: bool = False) -> None:
        self._outcome = AttemptOutcome(job_id, eager)

    def __enter__(self) -> AttemptOutcome:
        self._token = _current.set(self._outcome)
        return self._outcome

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        if self._outcome.progress is not None:
            self._outcome.progress.ended_at = utcnow()


def running() -> AttemptOutcome | None:
    """The outcome of the attempt that runs in this context."""
    return _current.get()


def outcome_of(request: Any) -> AttemptOutcome | None:
    """The outcome of the attempt of ``request`` (a task's context); None for a plain call."""
    outcome = _current.get()
    if outcome is None or request is None or request.called_directly:
        return None
    same = outcome.job_id == request.id and outcome.eager == bool(request.is_eager)
    return outcome if same else None


def end_of_body(task: Any) -> BodyEnd | None:
    """How the body of ``task`` has ended, if the tracer is to get that in place of another run; it gets it once."""
    outcome = _current.get()
    if outcome is None or outcome.end is None or outcome.end.task is not task:
        return None
    end, outcome.end = outcome.end, None
    return end


def wait_for_other(error: Exception) -> BaseException:
    """What to raise when another one does the work: ``error``, but in a worker what postpones the job.

    The job is postponed even if its body catches that: a job that waits has not done its work.
    """
    outcome = _current.get()
    if outcome is None or outcome.eager:
        return error
    outcome.asked = Postponed(str(error))
    return outcome.asked


def stop_for_cancel() -> BaseException:
    """What to raise in a job that was cancelled; the job ends so even if its body catches that."""
    error, outcome = StoppedByCancel("the job was cancelled"), _current.get()
    if outcome is not None:
        outcome.asked = error
    return error


def in_worker() -> bool:
    """Whether the running code belongs to an attempt in a worker."""
    outcome = _current.get()
    return outcome is not None and not outcome.eager


def failure_of(exc: BaseException, ours: frozenset[str] = frozenset()) -> Failure:
    """``exc`` as a failure, with the traceback from the task's own code on.

    ``ours`` are our files around the task's code; their frames are omitted, as Celery's are.
    """
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in _AROUND | ours:
        frames = frames.tb_next
    return Failure.of(exc, "".join(traceback.format_exception(type(exc), exc, frames)))


_AROUND = frozenset({celery_task.__file__, celery_trace.__file__})

__all__ = [
    "AttemptOutcome",
    "BegunAttempt",
    "BodyEnd",
    "Postponed",
    "Skipped",
    "StoppedByCancel",
    "end_of_body",
    "failure_of",
    "in_worker",
    "outcome_of",
    "running",
    "stop_for_cancel",
    "wait_for_other",
]
