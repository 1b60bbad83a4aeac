"""Live with other logging setups: they neither silence nor double our lines, and their handlers stay.

By default ``logging.config`` disables every logger that its configuration does not name. Flask gives ``app.logger`` a
console handler if no other handler exists. In a worker we own the console; handlers for files, mail or a log server
stay.
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
    """Enable the loggers of these names and their children again, after ``logging.config`` disabled them."""
    for name, logger in _loggers():
        if name.partition(".")[0] in names:
            logger.disabled = False


def free_console(root: logging.Logger) -> None:
    """Remove handlers that write to the console, because ``root`` will write the same lines."""
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
