"""The id of the web request that the code which runs now serves, handed on to the jobs that it enqueues."""

from __future__ import annotations

import re
import uuid

from flask import has_request_context, request

from ..domain.context import current_job

REQUEST_ID_HEADER = "X-Request-ID"
_KEY = "nightshift.request_id"
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}")


def request_id() -> str | None:
    """The id of the web request that this code serves, directly or through a job; None outside of both.

    In a request it is the ``X-Request-ID`` header when that is 1 to 128 printable ASCII characters, else one
    made once per request.
    """
    if has_request_context():
        # kept with the request and not in g, which requests made inside one app context share
        if _KEY not in request.environ:
            given = request.headers.get(REQUEST_ID_HEADER, "")
            request.environ[_KEY] = given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
        return str(request.environ[_KEY])
    job = current_job.get()
    return job.request_id if job else None
