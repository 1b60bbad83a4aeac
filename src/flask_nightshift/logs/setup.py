"""Sets up the logging of a process with structlog, which may import rich: so import this module only for that."""

from __future__ import annotations

import codecs
import logging
import sys
from logging.handlers import WatchedFileHandler
from typing import IO, Any

import structlog
from structlog.stdlib import ProcessorFormatter

from ..config.settings import Settings
from .duplicates import silence_duplicates
from .guests import CELERYS, OURS, free_console, wake
from .processors import SHARED, as_lines_of_json, console

_NAME = "nightshift"
"""Name of our handler."""
_STRUCTLOG = [structlog.stdlib.filter_by_level, *SHARED, ProcessorFormatter.wrap_for_formatter]
_CHATTY = ("amqp", "kombu", "celery.utils.functional")


def configure(
    settings: Settings, *, level: int | str | None, stream: IO[str] | None, logfile: str | None
) -> None:
    """Replace the handlers that write to the console by one of ours, and configure structlog unless the app does."""
    stream = stream or sys.__stderr__ or sys.stderr
    handler: logging.StreamHandler[Any] = (
        WatchedFileHandler(logfile, encoding="utf-8") if logfile else logging.StreamHandler(stream)
    )
    in_terminal = _is_console(settings.log_format, None if logfile else stream)
    last = console(stream) if in_terminal else as_lines_of_json(ascii_only=not _is_utf8(handler.stream))
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=SHARED, processors=[ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    for old in [known for known in root.handlers if known.name == _NAME]:
        root.removeHandler(old)
    free_console(root)
    wake(OURS, CELERYS)
    handler.set_name(_NAME)
    root.addHandler(handler)
    root.setLevel(level or settings.log_level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))
    silence_duplicates()
    logging.captureWarnings(True)
    if structlog.is_configured() and structlog.get_config()["processors"] is not _STRUCTLOG:
        return
    structlog.configure(
        processors=_STRUCTLOG,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _is_console(log_format: str, stream: IO[str] | None) -> bool:
    if log_format != "auto":
        return log_format == "console"
    return stream is not None and stream.isatty()


def _is_utf8(stream: Any) -> bool:
    """Whether ``stream`` accepts every character; one without an encoding accepts any text."""
    encoding = getattr(stream, "encoding", None)
    return encoding is None or codecs.lookup(encoding).name == "utf-8"
