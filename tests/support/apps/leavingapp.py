"""The app of ``jobsapp.py``, with jobs whose child leaves while its threads still have something to tell."""

from __future__ import annotations

import os
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration

from jobsapp import FAST, create_app, jobs, note, succeed, wait_for_file

__all__ = ["create_app"]

if os.environ.get("SENTRY_DSN"):
    sentry_sdk.init(integrations=[CeleryIntegration()])


@jobs.task(name="test.enqueue_more", max_retries=0, **FAST)
def enqueue_more(marker: str, leaves: bool) -> None:
    """Enqueue three jobs and note their ids; then end the child, if it ``leaves``."""
    for number in range(3):
        note(marker, succeed.delay(f"{marker}-{number}").id)
    if leaves:
        raise SystemExit(3)


@jobs.task(name="test.report")
def report(marker: str) -> None:
    """Tell Sentry three things."""
    for number in range(3):
        sentry_sdk.capture_message(f"{marker}-{number}")


@jobs.task(name="test.fail_with_much", bind=True, max_retries=1, **FAST)
def fail_with_much(self: Any, marker: str, much: str = "") -> None:
    """Ask for a retry with large arguments, once the test says so."""
    note(marker, f"with-{len(much)}")
    if not much:
        wait_for_file(os.environ["LEDGER"] + "." + marker)
        raise self.retry(args=(marker, "x" * 300_000), countdown=0.1)
