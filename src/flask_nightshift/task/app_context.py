"""The app context around a task's body; an error in its teardown does not fail the job."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

logger = logging.getLogger("flask_nightshift.context")


@contextmanager
def in_context(context: AbstractContextManager[object]) -> Iterator[None]:
    """Run the block within ``context``, an app context; an error in its teardown is logged and not raised.

    A job whose body has returned is done, whatever a teardown function does afterwards.
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
