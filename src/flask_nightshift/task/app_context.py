"""The app or request context around a task's body; an error in its teardown does not fail the job."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask import Flask, current_app, has_app_context, has_request_context

from ..enqueue.request_id import OF_A_JOB
from ..errors import ConfigurationError

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
                logger.exception("job.teardown_failed")


def app_context(app: Flask) -> AbstractContextManager[Any]:
    """The context of ``app``, unless it is active already (a direct or eager call in a request)."""
    return nullcontext() if has_app_context() and _is_current(app) else app.app_context()


def request_context(app: Flask, task: str) -> AbstractContextManager[Any]:
    """A request context of ``app`` for the task named ``task``, unless one is active already.

    Its URL is that of the app's root, of ``SERVER_NAME``, ``APPLICATION_ROOT`` and ``PREFERRED_URL_SCHEME``. As in
    Flask's own ``test_request_context``, functions of ``before_request`` and ``after_request`` do not run, and those of
    ``teardown_request`` do. Raises ``ConfigurationError`` without ``SERVER_NAME``.
    """
    if has_request_context() and _is_current(app):
        return nullcontext()
    need_server_name(app, [task])
    return app.test_request_context(environ_overrides={OF_A_JOB: True})


def need_server_name(app: Flask, tasks: Iterable[str]) -> None:
    """Raise ``ConfigurationError`` if ``tasks``, the names of those with ``request_context``, lack ``SERVER_NAME``."""
    names = sorted(tasks)
    if names and not app.config.get("SERVER_NAME"):
        raise ConfigurationError(
            "SERVER_NAME",
            app.config.get("SERVER_NAME"),
            f"{_some(names)} with request_context=True: set the host of the app's links, such as 'www.example.com', "
            "in app.config; or leave request_context out, then url_for() works in requests only",
        )


def _some(names: list[str]) -> str:
    more = (
        f" and {len(names) - 3} more tasks run" if len(names) > 3 else " run" if len(names) > 1 else " runs"
    )
    return ", ".join(names[:3]) + more


def _is_current(app: Flask) -> bool:
    current: Any = current_app
    return current._get_current_object() is app  # noqa: SLF001 - Flask's documented way


__all__ = ["InContext", "app_context", "need_server_name", "request_context"]
