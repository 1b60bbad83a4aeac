"""Logging: one line for each event, with the job that it belongs to.

``configure`` sends every line of the process (ours, Celery's, kombu's, and those of the app's loggers inside tasks)
through the same structlog processors: JSON in production, readable text in a terminal. ``observe`` turns the events of
jobs into lines. One ``grep`` for a job's id follows it through the web process, its workers, its retries, its burial
and its replay. Passwords in URLs are never logged.
"""

from ..text.lines import Line, job_fields
from .connecting import configure, connect, is_taken
from .wording import observe

__all__ = ["Line", "configure", "connect", "is_taken", "job_fields", "observe"]
