"""Runs the jobs of a test, one after the other, and tells how each attempt ended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ..domain.events import JobRetrying
from ..domain.job import Outcome
from ..schedule.entries import PRUNE
from ..services import Services
from .jobs import EnqueuedJob, RanJob, call_of
from .session import set_apart
from .sight import Next, Sight
from .worker import Worker

_WELL = (Outcome.SUCCEEDED, Outcome.SKIPPED)


class Runner:
    """Runs jobs of ``services``. ``raise_errors``: raise what a body raises, after the job is settled.

    None stands for Celery's setting ``task_eager_propagates``.
    """

    def __init__(self, services: Services, sight: Sight) -> None:
        self._services, self._sight = services, sight
        self._events: list[Any] = []
        services.events.subscribe(self._events.append)
        self.ran: list[RanJob] = []
        """The attempts that ended, in their order."""
        self._returned: dict[int, RanJob] = {}
        """The first runs of jobs that came back because ``twice()`` lost their acknowledgements, by message."""

    def run(self, following: Next, raise_errors: bool | None) -> RanJob:
        """Run a job; raises ``AssertionError`` if its task does not exist."""
        __tracebackhide__ = True
        job, celery = following.job, self._services.celery
        if job.task not in celery.tasks:
            raise AssertionError(
                f"{job}: no task has this name. Does the test import the module that declares it? "
                f"There are: {self.known_tasks()}"
            )
        self._events.clear()
        with set_apart(self._services.app):
            errors = self.worker.run(job.queue)
        ran = self._ended(job, errors)
        self.ran.append(ran)
        wanted = celery.conf.task_eager_propagates if raise_errors is None else raise_errors
        if wanted and ran.exception is not None:
            raise ran.exception
        return ran

    def run_twice(self, following: Next, raise_errors: bool | None, once: set[str]) -> RanJob:
        """Run a job, and if it succeeds lose its acknowledgement, so that it comes back; or run one that came back.

        Jobs whose ids are in ``once`` run once; the jobs that those and second runs enqueue are added to them. Raises
        ``AssertionError`` if a second run does not succeed.
        """
        __tracebackhide__ = True
        first = self._returned.pop(following.stored.number, None)
        task = self._services.celery.tasks.get(following.job.task)
        if first is None and following.job.id not in once and getattr(task, "acks_late", True):
            return self._run_unheard(following, raise_errors)
        newest = self._sight.server.newest
        ran = self.run(following, raise_errors)
        once |= self._sight.since(newest) - {following.job.id}
        if first is not None and ran.outcome not in _WELL:
            raise AssertionError(
                f"{call_of(first.task, first.args, first.kwargs)} is not idempotent: its first run succeeded, "
                f"and its second run {ran.outcome}: {ran.error}"
            ) from ran.exception
        return ran

    def _run_unheard(self, following: Next, raise_errors: bool | None) -> RanJob:
        """Run a job, and lose its acknowledgement if it succeeds."""
        __tracebackhide__ = True
        server, number = self._sight.server, following.stored.number
        server.unheard[number] = None
        try:
            ran = self.run(following, raise_errors)
        finally:
            returned = server.unheard.pop(number)
        if returned is not None and ran.outcome == Outcome.SUCCEEDED:
            self._returned[returned.number] = ran
        elif returned is not None:
            server.remove(returned)
        return ran

    def known_tasks(self) -> str:
        """The names of the app's tasks."""
        return ", ".join(task.name for task in self._services.tasks() if task.name != PRUNE)

    def close(self) -> None:
        """Close what the worker opened."""
        if "worker" in vars(self):
            self.worker.close()

    @cached_property
    def worker(self) -> Worker:
        """The worker; made at its first use."""
        return Worker(self._services)

    def _ended(self, job: EnqueuedJob, errors: Sequence[Exception]) -> RanJob:
        """The end of the attempt, as its events tell."""
        mine = [event for event in self._events if event.job.job_id == job.id and hasattr(event, "outcome")]
        event = mine[-1] if mine else None
        failure = getattr(event, "failure", None)
        return RanJob(
            job.id,
            job.task,
            job.args,
            job.kwargs,
            job.queue,
            job.attempt,
            outcome=str(event.outcome if event is not None else Outcome.RETURNED),
            error=str(failure) if failure else None,
            exception=errors[-1] if failure and errors else None,
            due=event.due if isinstance(event, JobRetrying) else None,
        )


__all__ = ["Runner"]
