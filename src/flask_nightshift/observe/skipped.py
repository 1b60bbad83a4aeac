"""Tell the result backend of a job that was skipped before any worker had it: somebody may wait for its result.

That is a duplicate of a unique job which a commit or a relay found, when its caller had the id already (invariant 12).
"""

from __future__ import annotations

from typing import Any

from ..domain.events import JobSkipped
from ..services import Services


class Heard:
    """Observes skipped jobs; a thread stores the state ``REVOKED``, so neither ``commit()`` nor a relay waits."""

    def __init__(self, services: Services, announcer: Any = None) -> None:
        self._services = services
        self._announcer = announcer

    def __call__(self, event: JobSkipped) -> None:
        """Called for each skipped job."""
        if not event.awaited:
            return
        from ..worker.announcer import Announcer
        from ..worker.hooks import gated

        if self._announcer is None:
            self._announcer = Announcer()
            self._services.holdings.add("results of skipped jobs", self._announcer.finish)
        backend, job_id, reason = self._services.celery.backend, event.job.job_id, f"{event.why} {event.by}"

        def call() -> None:
            with gated(backend):
                backend.mark_as_revoked(job_id, reason)

        self._announcer.tell(job_id, event.job.task, call)


__all__ = ["Heard"]
