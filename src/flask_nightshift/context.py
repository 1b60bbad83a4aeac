"""Which job, and which web request, the code that runs now belongs to.

Context variables only, so that every layer may read them: the log processors, the publisher that hands a
request's id on to the jobs it enqueues, a job that enqueues further jobs.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from flask import has_request_context, request

from .job import JobRef

current_job: ContextVar[JobRef | None] = ContextVar("nightshift_current_job", default=None)
"""The job whose attempt runs in this context, set around the body of a task."""

REQUEST_ID_HEADER = "X-Request-ID"
_KEY = "nightshift.request_id"
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,128}")


logger = logging.getLogger(__name__)


@contextmanager
def in_context(context: AbstractContextManager[object]) -> Iterator[None]:
    """Within ``context``, an app context; what its teardown raises is logged, and is no error of the block.

    A job whose body has returned is done, whatever a teardown function does after it.
    """
    context.__enter__()
    try:
        yield
    except BaseException as exc:
        _leave(context, exc)
        raise
    _leave(context, None)


def _leave(context: AbstractContextManager[object], exc: BaseException | None) -> None:
    try:
        context.__exit__(type(exc) if exc else None, exc, exc.__traceback__ if exc else None)
    except Exception as error:
        if error is not exc:
            logger.exception("a teardown function of the app context raised; the job goes on all the same")


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
