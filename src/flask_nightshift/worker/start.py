"""The start of an attempt: whether this worker may begin the job, and how it hands the job to the pool."""

from __future__ import annotations

import logging
import weakref
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

from celery.exceptions import TaskRevokedError
from celery.worker.state import revoked as revoked_jobs
from celery.worker.state import revoked_stamps, task_ready

from ..domain.job import Failure, Reason, utcnow
from ..message import headers as message_headers
from ..message.unique import lock_of
from . import attempt, hooks
from .outcome import REVOKED, SettledRequest

JSON = "application/json"
BEGIN_AGAIN = 0.5
"""Seconds until another try to begin a job whose start could not be counted, because the broker did not answer."""

logger = logging.getLogger("flask_nightshift.worker.request")


class StartedRequest(SettledRequest):
    """Celery's request, started by us; ``JobRequest`` adds what the pool calls when the attempt begins and ends."""

    time_start: float | None
    plain = True
    """Whether no method of it is overridden by a user's request class."""
    _has_begun = False
    """Whether the database has noted that it begins, if its lock is there."""

    def _succeeded_plainly(self, pid: int, accepted_at: float, runtime: float) -> None:
        raise NotImplementedError

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        """Hand the job to the pool. Raises ``TaskRevokedError`` if it must not run here.

        A job that cannot be sent to a child (its arguments are nested too deep) is buried.
        """
        try:
            return self._hand_to(pool)
        except (TaskRevokedError, *self.settlement.services.broker.errors):
            raise
        except Exception as exc:
            if self.settled or self.acknowledged:
                raise
            task_ready(self)
            failure = Failure.of(exc).because("it cannot be handed to a child process")
            self._bury(Reason.INVALID, failure, ran=False, exc_info=hooks.info(exc))
            raise TaskRevokedError(self.id) from exc

    def _hand_to(self, pool: Any) -> Any:
        told = revoked_jobs or revoked_stamps or self._app.cancels.known or self._expires is not None
        if told and self.revoked():
            raise TaskRevokedError(self.id)
        time_limit, soft_time_limit = self.time_limits
        time_limit = time_limit or self._task.time_limit
        self._delivery_info["queue"] = self.queue  # the child reports the job with it
        # the check has decoded it already, so the child need not
        body, content_type, content_encoding = self._body, self._content_type, self._content_encoding
        if content_type == JSON:
            body, content_type, content_encoding = self._message.payload, None, None
        target = attempt.run
        if pool.is_green and hasattr(pool, "timeout"):
            time_limit, seconds = 0, time_limit or pool.timeout
            target = partial(attempt.run_within, seconds or None, self._begins_in_the_pool)
        elif not pool.uses_semaphore:  # it waits in the pool; the check comes at its turn
            target = partial(attempt.run_if, self._begins_in_the_pool)
        else:
            try:
                if self._begins_later():
                    return None
                begins = self._begins()
            except self.settlement.services.broker.errors as exc:
                self._begin_later(exc)
                return None
            if not begins:
                task_ready(self)
                self._does_not_begin()
                raise TaskRevokedError(self.id)
        more: dict[str, Any] = {}
        if getattr(pool, "takes_back", False):
            more = {
                "announce": not self._task.acks_late,
                "return_callback": self._came_back,
                "stamps": self.stamps if self._request_dict.get("stamped_headers") else None,
                "success_callback": self._succeeded_plainly if self.plain else None,
            }
        result = pool.apply_async(
            target,
            args=(self._type, self.id, self._request_dict, body, content_type, content_encoding),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self._reported,
            error_callback=self._broken_off,
            soft_timeout=soft_time_limit or self._task.soft_time_limit,
            timeout=time_limit,
            correlation_id=self.id,
            **more,
        )
        self._apply_result = None if result is None else weakref.ref(result)
        return result

    def _came_back(self) -> None:
        """No child has begun it: it was revoked while it waited, or waited for too long."""
        if not self.revoked():
            self._app.line.leave([self])

    def revoked(self) -> bool:
        """Whether the job was cancelled, revoked or has expired; if so, settle it.

        A worker remembers Celery's revocations for hours. An earlier version buried revoked jobs, and a replay of those
        is meant to run.
        """
        if not self.settled and self._is_cancelled():
            self._drop_cancelled("cancelled")
            return True
        if self.id in revoked_jobs:
            buried = message_headers.parse_time(message_headers.history(self._request_dict).get(REVOKED))
            ago = timedelta(seconds=monotonic() - revoked_jobs.as_dict()[self.id])
            if buried and utcnow() - ago < buried:
                revoked_jobs.discard(self.id)
        return bool(super().revoked())

    def maybe_expire(self) -> bool:
        """Whether the job has expired. Celery would also remember it as revoked, and bury it after a replay."""
        known = self.id in revoked_jobs
        expired = bool(super().maybe_expire())
        if not known:
            revoked_jobs.discard(self.id)
        return expired

    def _still_ours(self) -> bool:
        """Whether the job is still this worker's. Where the broker cannot tell, it is while the worker lives."""
        if self.acknowledged:  # acknowledged early, so no other worker gets it
            return True
        return self.settlement.services.broker.holds(self._message)

    def _begins(self) -> bool:
        """Count the delivery before the job begins (invariant 3); False if another worker or another job has its place.

        Raises errors of the broker's library; then the job must not begin.
        """
        if self._is_cancelled() or not self._is_counted():
            return False
        lock = lock_of(self._request_dict)
        if lock is not None and not self._has_begun:
            self._replaced_by = self.settlement.locks.begin(self._message, lock)
        return not self._replaced_by

    def _begins_later(self) -> bool:
        """Whether its start waits until the database has noted it; then it is handed to the pool again."""
        lock = lock_of(self._request_dict)
        if lock is None or self._has_begun or not self._is_counted():
            return False
        return self.settlement.locks.begins_later(lock, self._begun)

    def _begun(self, replaced_by: str) -> None:
        """The database has noted that it begins, or that the job ``replaced_by`` has replaced it."""
        self._replaced_by, self._has_begun = replaced_by, True
        if self.message.channel.connection is not None:  # else it comes again
            self.settlement.start(self)

    def _is_counted(self) -> bool:
        if self.acknowledged:  # with ``acks_late=False``: nothing is left to count
            return True
        broker = self.settlement.services.broker
        if broker.capabilities.counts_starts:
            return broker.begin(self._message)
        return self.settlement.fence.opens(self._message.channel)

    def _begin_later(self, exc: Exception) -> None:
        """Keep the free child, and try again in a moment.

        If the connection is lost meanwhile, Celery forgets the job; no reference may keep it then, so that it goes back
        to its queue. Nothing may be raised here: Celery's own pool frees a child, and so begins the next job, before it
        reports the one that ended, and an error would lose that report.
        """
        logger.warning("job.not_begun", extra={"job_id": self.id, "task": self.name, "why": str(exc)})
        start, this = self.settlement.start, weakref.ref(self)

        def again() -> None:
            request = this()
            if request is not None and request.message.channel.connection is not None:
                start(request)

        self.settlement.later(BEGIN_AGAIN, again)

    def _begins_in_the_pool(self) -> bool:
        """``_begins`` inside a pool, which does not know the broker's errors: after one, the job goes back."""
        try:
            return self._begins()
        except self.settlement.services.broker.errors as exc:
            logger.warning("job.not_begun", extra={"job_id": self.id, "task": self.name, "why": str(exc)})
            return False


__all__ = ["StartedRequest"]
