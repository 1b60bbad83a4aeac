"""How Nightshift logs: one line per thing that happened, each with the job it belongs to.

``configure`` sends every line of the process (ours, Celery's, kombu's, the application's own loggers inside
tasks) through the same structlog processors, as JSON in production and readable in a terminal. ``observe``
turns the events of jobs into lines. Grepping one job's id follows it through the web process, its workers,
its retries, its death and its replay. A password in a URL is never written.
"""

from ..text.lines import Line, job_fields
from .setup import configure, connect, is_taken
from .wording import observe

__all__ = ["Line", "configure", "connect", "is_taken", "job_fields", "observe"]
