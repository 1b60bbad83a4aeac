"""The id of the current web request; jobs that the request enqueues carry it."""

from __future__ import annotations

import re
import uuid

from flask import has_request_context, request

from ..domain.context import current_job

REQUEST_ID_HEADER = "X-Request-ID"
OF_A_JOB = "nightshift.of_a_job"
"""In the environ of a request context that no client has asked for: a job runs in it."""
_KEY = "nightshift.request_id"
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}")


def in_web_request() -> bool:
    """Whether a client's request runs here, and not a job that has a request context of its own."""
    return has_request_context() and OF_A_JOB not in request.environ


def request_id() -> str | None:
    """The id of the current web request, or of the request that enqueued the current job; None outside of both.

    In a request it is the ``X-Request-ID`` header if that is 1 to 128 printable ASCII characters without spaces,
    otherwise a new random id (32 hex digits), the same for the whole request.
    """
    if in_web_request():
        # in environ, not in g: requests inside one app context share g
        if _KEY not in request.environ:
            given = request.headers.get(REQUEST_ID_HEADER, "")
            request.environ[_KEY] = given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
        return str(request.environ[_KEY])
    job = current_job.get()
    return job.request_id if job else None
