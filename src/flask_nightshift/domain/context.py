"""Which job the code that runs now belongs to.

A context variable only, so that every layer may read it: the log processors, the publisher, a job that enqueues
further jobs.
"""

from __future__ import annotations

from contextvars import ContextVar

from .job import JobRef

current_job: ContextVar[JobRef | None] = ContextVar("nightshift_current_job", default=None)
"""The job whose attempt runs in this context, set around the body of a task."""
