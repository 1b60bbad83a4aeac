"""Results in a test: whoever waits for one has the jobs run, as workers would meanwhile."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.cache import CacheBackend
from celery.exceptions import TimeoutError as NotThereYet

from .jobs import listed
from .running import Runner
from .sight import Sight

MOST = 1_000
"""Attempts that one wait for a result makes at most."""
NAME = f"{__name__}:RunningResults"
"""The class of the result backend, in Celery's settings."""


class RunningResults(CacheBackend):
    """Celery's result backend in this process, whose ``get()`` runs the jobs that wait."""

    supports_native_join = False
    """So that Celery waits for the members of a group one after the other."""
    runs_jobs = True
    """``aget()`` does what ``get()`` does: nothing else runs jobs meanwhile."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, backend="memory://", **{**options, "url": None})

    def wait_for(self, task_id: str, timeout: float | None = None, *_: Any, **__: Any) -> Any:
        """What is known of the job ``task_id`` when it has ended; see ``ResultRunner.run``."""
        __tracebackhide__ = True
        made = 0
        while (meta := self.get_task_meta(task_id))["status"] not in states.READY_STATES:
            runner: ResultRunner = self.app.services.result_runner
            runner.run(task_id, timeout, made)
            made += 1
        return meta


class ResultRunner:
    """Runs the jobs of a test for those who wait for a result."""

    def __init__(self, sight: Sight, runner: Runner) -> None:
        self._sight, self._runner = sight, runner

    def run(self, job_id: str, timeout: float | None, made: int) -> None:
        """Run the job that comes first. ``made`` is how many this wait has run before.

        If no job may run, the wait would not end soon: raises Celery's ``TimeoutError`` if it has a ``timeout``, else
        ``AssertionError``; both say what ``job_id`` waits for.
        """
        __tracebackhide__ = True
        following = self._sight.first()
        if following is None:
            raise (AssertionError if timeout is None else NotThereYet)(self._why(job_id))
        if made >= MOST:
            raise AssertionError(f"get() made {made:,} attempts. Does a task enqueue itself?")
        self._runner.run(following, raise_errors=False)

    def _why(self, job_id: str) -> str:
        """What the job waits for."""
        waiting = [job for job in self._sight.waiting() if job.id == job_id]
        held = [job for job in self._sight.held() if job.id == job_id]
        ran = [job for job in self._runner.ran if job.id == job_id]
        if waiting and waiting[0].due is not None:
            why, way = f"{waiting[0]}", "let time pass with travel(), or call drain(delayed=True)"
        elif waiting:
            why, way = f"{waiting[0]}, which is paused", "resume the queue"
        elif held:
            why, way = f"{held[0]} for the commit of its transaction", "commit it first"
        elif ran:
            return f"get() would wait for a result that was not kept. {ran[-1]}. Give its task ignore_result=False."
        else:
            return f"get() would wait for ever: no job has the id {job_id!r}.\n" + listed(
                "Enqueued are", self._sight.waiting(), "Nothing is enqueued."
            )
        return f"get() would wait, because there waits {why}: {way}."


__all__ = ["NAME", "ResultRunner", "RunningResults"]
