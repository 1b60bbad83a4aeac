"""What others have set up: ours must neither be silenced by it nor come twice because of it, and theirs stays.

``logging.config`` disables every logger that it is not told of, unless told not to. Flask gives ``app.logger`` a
handler for the console when nobody else has. In a worker the console is ours: handlers for files, mail or a log
server stay.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

from flask.logging import wsgi_errors_stream

OURS = "flask_nightshift"
CELERYS = "celery"


def wake(*names: str) -> None:
    """Have the loggers of these names, and those below them, speak again after ``logging.config`` disabled them."""
    for name, logger in _loggers():
        if name.partition(".")[0] in names:
            logger.disabled = False


def free_console(root: logging.Logger) -> None:
    """Take away the handlers that write to the console, where ``root`` is about to write the same lines."""
    for logger in (root, *(each for _, each in _loggers() if each.propagate)):
        for handler in logger.handlers[:]:
            if _writes_to_console(handler):
                logger.removeHandler(handler)


def _loggers() -> Iterator[tuple[str, logging.Logger]]:
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            yield name, logger


def _writes_to_console(handler: logging.Handler) -> bool:
    stream: Any = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    known = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, wsgi_errors_stream)
    return stream is not None and any(stream is each for each in known)


__all__ = ["CELERYS", "OURS", "free_console", "wake"]
