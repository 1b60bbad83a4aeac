"""The job that the running code belongs to.

It is a context variable, so every layer can read it: the log processors, for example, and the publisher when a job
enqueues another.
"""

from __future__ import annotations

from contextvars import ContextVar

from .job import JobRef

current_job: ContextVar[JobRef | None] = ContextVar("nightshift_current_job", default=None)
"""The job whose attempt runs in this context, set around the body of a task."""
