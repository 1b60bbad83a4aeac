"""Makes a child of the pool ``prefork`` one of Celery's worker processes, and decides when it is replaced."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import suppress
from typing import Any

from billiard import Process, process, util
from billiard.compat import mem_rss
from billiard.pool import EX_RECYCLE
from celery.concurrency.prefork import process_destructor, process_initializer
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_before_create_process

from .. import sentry
from . import wire
from .shared import Work

logger = logging.getLogger(__name__)

JOURNAL_TIMEOUT = 2.0
"""Maximum seconds that the end of a child waits until the history has the jobs that it enqueued."""


class ThisProcess(Process):  # type: ignore[misc,unused-ignore]
    """A child, as ``billiard.current_process()`` gives it there; ``index`` counts the children of a worker from 0."""

    def __init__(self, index: int) -> None:
        super().__init__(name=f"ForkPoolWorker-{index + 1}", daemon=True)
        self.index = index


class WorkerProcess:
    """The life of each child; made in the parent, called in the children.

    ``most_jobs``: jobs after which a child is replaced. ``most_memory``: KiB of memory, likewise. None is no limit.
    """

    def __init__(self, app: Any, hostname: str, most_jobs: int | None, most_memory: int | None) -> None:
        self._app, self._hostname = app, hostname
        self._most_jobs, self._most_memory = most_jobs, most_memory
        self._replaced = False
        self._exits = False

    def work(self) -> Work:
        """What the children do."""
        return Work(
            wire.call,
            self._begin,
            self._stays,
            self._leave,
            SoftTimeLimitExceeded,
            wire.is_final,
            self._raised,
            self._before_fork,
        )

    def _before_fork(self) -> None:
        """In the parent: send the signal that Celery's pool sends, and collect garbage, so that no child does it."""
        worker_before_create_process.send(sender=self)
        gc.collect()

    def _begin(self, index: int) -> None:
        """Do what billiard and Celery's pool do at the start of a child."""
        if sys.stdin is not None:
            with suppress(OSError, ValueError):
                sys.stdin.close()
                sys.stdin = open(os.devnull)  # noqa: SIM115 - for as long as the process lives
        process._set_current_process(ThisProcess(index))  # noqa: SLF001 - billiard's own way
        util._finalizer_registry.clear()  # noqa: SLF001
        util._run_after_forkers()  # noqa: SLF001
        process_initializer(self._app, self._hostname)

    def _stays(self, jobs: int) -> bool:
        if self._exits:
            return False
        self._replaced = bool(self._most_jobs and jobs >= self._most_jobs) or self._is_too_large()
        return not self._replaced

    def _is_too_large(self) -> bool:
        if not self._most_memory:
            return False
        used = mem_rss()
        if used <= self._most_memory:
            return False
        logger.warning(
            "child process exiting after exceeding memory limit (%dKiB / %dKiB)", used, self._most_memory
        )
        return True

    def _raised(self, exc: BaseException) -> bytes:
        """A job that raised ``SystemExit`` ends its process, as in Celery."""
        self._exits = isinstance(exc, (SystemExit, KeyboardInterrupt))
        return wire.packed_error(exc)

    def _leave(self, code: int) -> None:
        """Do what billiard and Celery's pool do at the end of a child.

        billiard's child then sleeps for a second, in which threads can finish; here those that we know finish.
        """
        process_destructor(os.getpid(), EX_RECYCLE if self._replaced and not code else code)
        with suppress(Exception):
            sentry.flush()
        self._app.services.journal.close(JOURNAL_TIMEOUT)


__all__ = ["WorkerProcess"]
