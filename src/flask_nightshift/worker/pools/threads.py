"""The pool of ``--pool threads`` in our workers: Celery's, with a line of its own in place of its executor's queue.

So jobs that no thread has begun can go back to the broker, and a thread begins the next one without being woken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import TaskPool

from .support import Support
from .waiting import GivesBack, WaitingJob

logger = logging.getLogger(__name__)


class JobThreads(GivesBack, TaskPool):
    """Celery's pool of threads, which gives back what no thread has begun."""

    def on_apply(self, target: Callable[..., Any], args: Any = (), kwargs: Any = None, **told: Any) -> None:
        """Have a thread make the call as soon as one is free."""
        if self._state == self.RUN and self._waiting.put(WaitingJob(target, args, kwargs, told)):
            self.executor.submit(self._work)

    def _work(self) -> None:
        while (job := self._waiting.take()) is not None:
            try:
                self._run(job)
            except BaseException:  # this thread runs the next job
                logger.exception("Pool callback raised exception")

    def _run(self, job: WaitingJob) -> None:
        if job.is_revoked:
            job.come_back()
        else:
            told = job.told
            apply_target(job.target, job.args, job.kwargs, told.get("callback"), told.get("accept_callback"))


SUPPORT = Support(JobThreads)
