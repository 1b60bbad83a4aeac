"""The id of the current web request; jobs that the request enqueues carry it."""

from __future__ import annotations

import re
import uuid

from flask import has_request_context, request

from ..domain.context import current_job

REQUEST_ID_HEADER = "X-Request-ID"
_KEY = "nightshift.request_id"
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}")


def request_id() -> str | None:
    """The id of the current web request, or of the request that enqueued the current job; None outside of both.

    In a request it is the ``X-Request-ID`` header if that is 1 to 128 printable ASCII characters without spaces,
    otherwise a new random id (32 hex digits), the same for the whole request.
    """
    if has_request_context():
        # in environ, not in g: requests inside one app context share g
        if _KEY not in request.environ:
            given = request.headers.get(REQUEST_ID_HEADER, "")
            request.environ[_KEY] = given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
        return str(request.environ[_KEY])
    job = current_job.get()
    return job.request_id if job else None
