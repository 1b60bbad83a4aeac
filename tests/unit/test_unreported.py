"""The deaths that we report to Sentry: errors that its own integration has not seen."""

from __future__ import annotations

import pytest

from flask_nightshift.domain.job import Failure, Reason
from flask_nightshift.worker.sentry import unreported

LOST = "billiard.exceptions.WorkerLostError"
LIMIT = "billiard.exceptions.TimeLimitExceeded"


@pytest.mark.parametrize(
    ("reason", "error", "expected"),
    [
        (Reason.EXHAUSTED, "LookupError", False),
        (Reason.PERMANENT, "flask_nightshift.errors.PermanentFailure", False),
        (Reason.EXHAUSTED, LOST, True),
        (Reason.EXHAUSTED, LIMIT, True),
        (Reason.UNKNOWN_TASK, "celery.exceptions.NotRegistered", True),
        (Reason.UNDECODABLE, "UnicodeDecodeError", True),
        (Reason.DELIVERY_LIMIT, LOST, True),
        (Reason.EXPIRED, "celery.exceptions.TaskRevokedError", False),
        (Reason.REVOKED, "celery.exceptions.TaskRevokedError", False),
        (Reason.REJECTED, "celery.exceptions.Reject", False),
    ],
)
def test_unreported(reason: Reason, error: str, expected: bool) -> None:
    assert unreported(reason, Failure(error)) is expected
