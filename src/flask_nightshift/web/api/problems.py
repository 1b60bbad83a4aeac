"""Every error of the API as ``application/problem+json`` (RFC 9457)."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from msgspec import Meta

from ...errors import (
    ArgumentsRefused,
    BodyNotKept,
    BrokerUnavailable,
    BulkActionEnded,
    BulkActionNotFound,
    ConfigurationError,
    DatabaseUnavailable,
    DeadLetterNotFound,
    DuplicateJob,
    EntryNotFound,
    InvalidKey,
    InvalidQuery,
    JobEnded,
    JobNotFound,
    NightshiftError,
    NothingToSkip,
    Unsupported,
)
from ...text.failures import told
from ...text.printable import as_json
from .shapes.base import Shape

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
"""Seconds to wait when the broker or the database is away."""
_LONGEST = 2_000
TITLES = {
    400: "The request cannot be read",
    401: "A bearer token is needed",
    403: "The token does not allow this",
    404: "There is no such thing",
    405: "This address takes another method",
    409: "That cannot be done now",
    413: "The body is too large",
    415: "The body has to be JSON",
    422: "A value is not usable",
    500: "An error of Nightshift",
    503: "The broker or the database is away",
}
_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (JobNotFound, 404, "job-not-found"),
    (DeadLetterNotFound, 404, "dead-letter-not-found"),
    (BulkActionNotFound, 404, "action-not-found"),
    (BulkActionEnded, 409, "action-ended"),
    (EntryNotFound, 404, "entry-not-found"),
    (JobEnded, 409, "job-ended"),
    (DuplicateJob, 409, "duplicate-job"),
    (NothingToSkip, 409, "nothing-to-skip"),
    (BodyNotKept, 409, "message-not-kept"),
    (Unsupported, 409, "unsupported"),
    (ArgumentsRefused, 422, "arguments-refused"),
    (InvalidKey, 422, "invalid-key"),
    (InvalidQuery, 422, "invalid-query"),
    (ConfigurationError, 422, "invalid-value"),
    (BrokerUnavailable, 503, "broker-unavailable"),
    (DatabaseUnavailable, 503, "database-unavailable"),
    (NightshiftError, 409, "refused"),
)


class Problem(Exception):
    """An answer that is an error. ``code`` is for programs and ``detail`` for people; ``headers`` go with it."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class ProblemShape(Shape, rename={"kind": "type"}):
    """An error (RFC 9457)."""

    kind: Annotated[str, Meta(description="urn:nightshift: and the code.")]
    title: str
    status: int
    code: Annotated[str, Meta(description="A word for programs.")]
    detail: Annotated[str, Meta(description="What was wrong, with which value, and what to do.")]


def of_error(exc: NightshiftError) -> Problem:
    """The problem that tells ``exc``, with its notes and without passwords."""
    status, code = next((status, code) for kind, status, code in _STATUS if isinstance(exc, kind))
    return Problem(status, code, told(exc), **({"Retry_After": RETRY_AFTER} if status == 503 else {}))


def answer(problem: Problem) -> Response:
    """The response for ``problem``."""
    body = {
        "type": f"urn:nightshift:{problem.code}",
        "title": TITLES[problem.status],
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail[:_LONGEST],
    }
    text = as_json(body, ascii_only=True)
    return Response(text, problem.status, problem.headers, content_type=MEDIA_TYPE)


__all__ = ["MEDIA_TYPE", "TITLES", "Problem", "ProblemShape", "answer", "of_error"]
