"""What a worker knows about the attempt in hand, from the message and Celery's own request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.worker.request import Request

from ..domain.job import Attempt, Failure, JobRef, Reason, utcnow
from ..domain.relations import Relations
from ..domain.retry import RetryPolicy
from ..message import headers as message_headers
from ..message.relations import relations_of
from ..task.base import policy_of
from ..task.results import counted_by_backend, ignored
from .settlement import Settlement


class Delivery(Request):
    """Celery's request, read in the terms of ``domain/job.py``; it changes no behaviour."""

    _ref: JobRef | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ignore_result = self._request_dict["ignore_result"] = self._ignores_result()
        if self._eta is None:  # the wait is over, but the task may still ask for its ETA
            self._request_dict["eta"] = message_headers.due_text(self._request_dict)

    def _ignores_result(self) -> bool:
        """Whether the worker ignores the job's result.

        The publisher need not know the task, so its silence leaves the decision to the task. A chord that
        ``celery.chord_unlock`` counts needs every stored result; without one it would wait for ever.
        """
        payload = self._body if self._decoded else self._message.payload  # ``_payload`` takes two locks
        embed, headers = payload[2] or {}, self._request_dict
        said, chord, chain = headers.get("ignore_result"), embed.get("chord"), embed.get("chain")
        if said is None and not (chord or chain is not None or headers.get("group")):
            return bool(self._task.ignore_result)
        if said is None:
            said = ignored(self._task, {"group_id": self.group, "chord": chord, "chain": chain})
        return bool(said) and (not chord or counted_by_backend(self._task.backend))

    @property
    def settlement(self) -> Settlement:
        """The settlement of this worker."""
        return self._app.settlement

    @property
    def queue(self) -> str:
        """The queue that the message came from."""
        return getattr(self._message, "job_queue", None) or self._delivery_info.get("routing_key") or ""

    @property
    def job(self) -> JobRef:
        """The job and the number of this attempt."""
        if self._ref is None:  # no cached_property, which takes a lock
            self._ref = message_headers.ref(self._request_dict, self.queue)
        return self._ref

    def _untold_relations(self) -> Relations | None:
        """What connects a job of a plain Celery producer; of other jobs their publisher has told it."""
        if message_headers.HISTORY in self._request_dict:
            return None
        payload = self._body if self._decoded else self._message.payload
        return relations_of(self._request_dict, payload[2])

    @property
    def policy(self) -> RetryPolicy:
        """The task's retry policy."""
        return policy_of(self._task)

    def _job_headers(self) -> dict[str, Any]:
        """The headers for the next message; a protocol 1 message has them in its body."""
        if "task" in (self._message.headers or {}):
            return dict(self._message.headers)
        dropped = (
            "args",
            "kwargs",
            "properties",
            "delivery_info",
            "reply_to",
            "correlation_id",
            "hostname",
            "headers",
        )
        return {k: v for k, v in self._request_dict.items() if k not in dropped}

    def _tell_monitors(self, reason: Reason, failure: Failure) -> None:
        """Send Celery's event for a dead job; for a revoked or expired one it was sent before."""
        if reason is Reason.REJECTED:
            self.send_event("task-rejected", requeue=False)
        elif reason not in (Reason.REVOKED, Reason.EXPIRED):
            self.send_event("task-failed", exception=failure.shown, traceback=failure.traceback)

    @property
    def _started_at(self) -> datetime | None:
        return datetime.fromtimestamp(self.time_start, UTC) if self.time_start else None

    @property
    def _runtime(self) -> float | None:
        return (utcnow() - self._started_at).total_seconds() if self._started_at else None

    def _ended(self, failure: Failure, runtime: float | None) -> Attempt:
        at = self._started_at or utcnow()
        number = message_headers.retries(self._request_dict) + 1
        return Attempt(number, at.isoformat(), self._hostname, runtime, failure.error, failure.message)

    def _wait_before(self, at: datetime) -> float | None:
        """Seconds that the job was ready and waited, since it was enqueued or its delay ended."""
        due = message_headers.due(self._request_dict)
        enqueued = self.job.enqueued_at
        ready = max(enqueued, due) if enqueued and due else enqueued or due
        return max(0.0, (at - ready).total_seconds()) if ready else None
