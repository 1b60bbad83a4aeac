"""The app context around a task's body; an error in its teardown does not fail the job."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

logger = logging.getLogger("flask_nightshift.context")


class InContext:
    """Run a block within ``context``, an app context; an error in its teardown is logged and not raised.

    A job whose body has returned is done, whatever a teardown function does afterwards.
    """

    __slots__ = ("_context",)

    def __init__(self, context: AbstractContextManager[object]) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._context.__enter__()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        try:
            self._context.__exit__(kind, exc, exc.__traceback__ if exc else None)
        except Exception as error:
            if error is not exc:
                logger.exception(
                    "a teardown function of the app context raised; the job goes on all the same"
                )


__all__ = ["InContext"]
