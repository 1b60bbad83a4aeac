"""The app of ``jobsapp.py`` with tasks that ask for the retry that a test specifies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import patch

from flask_nightshift.domain.job import utcnow
from jobsapp import create_app, jobs, note

__all__ = ["create_app"]


@jobs.task(name="test.ask_unchecked", bind=True, max_retries=3)
def ask_unchecked(self: Any, marker: str, options: dict[str, Any]) -> None:
    """Ask for a retry as if ``retry()`` had missed a wrong option."""
    with patch("flask_nightshift.task.base.checked_retry", lambda asked, _: options):
        self.retry(countdown=0.1, **options)


@jobs.task(name="test.ask_in_vain", bind=True, max_retries=3)
def ask_in_vain(self: Any, marker: str, options: dict[str, Any]) -> None:
    try:
        self.retry(**options)
    except ValueError as exc:
        note(marker, str(exc))


@jobs.task(name="test.ask_for_an_hour", bind=True, max_retries=3)
def ask_for_an_hour(self: Any, marker: str, kind: str) -> None:
    """Ask for a retry that expires in an hour, given in one of three forms."""
    hour = timedelta(hours=1)
    given = {"seconds": hour.total_seconds(), "delta": hour, "moment": utcnow() + hour}
    if not self.request.retries:
        raise self.retry(countdown=0.1, expires=given[kind])
    note(marker, f"done {self.request.expires}")


@jobs.task(
    name="test.expires_when_retried",
    bind=True,
    retry_kwargs={"countdown": 0, "max_retries": 1, "priority": 7, "expires": 3600},
)
def expires_when_retried(self: Any, marker: str) -> None:
    note(marker, "begun")
    if not self.request.retries:
        raise ConnectionError("once")
    note(marker, f"priority {self.request.delivery_info['priority']}, expires {bool(self.request.expires)}")
