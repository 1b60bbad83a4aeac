"""Sets up the logging of a process with structlog, which also imports rich: so import this module only for that."""

from __future__ import annotations

import codecs
import logging
import sys
from logging.handlers import WatchedFileHandler
from typing import IO, Any

import structlog
from structlog.stdlib import ProcessorFormatter

from ..config.settings import Settings
from .guests import CELERYS, OURS, free_console, wake
from .processors import SHARED, as_lines_of_json, console

# Our own lines say more about an attempt or a tick than these formats of Celery, so only these are dropped.
_DUPLICATES = {
    "celery.beat": ("Scheduler: Sending due task %s (%s)",),
    "celery.worker.strategy": ("Task %(name)s[%(id)s] received",),
    "celery.app.trace": (
        "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s",
        "Task %(name)s[%(id)s] retry: %(exc)s",
        "Task %(name)s[%(id)s] %(description)s: %(exc)s",
        "Task %(name)s[%(id)s] %(exc)s",
    ),
}
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
    _silence_duplicates()
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


class _NotADuplicate(logging.Filter):
    """Passes Celery's records, except those that repeat our lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg not in _DUPLICATES.get(record.name, ()):
            return True
        return isinstance(record.args, dict) and bool(record.args.get("internal"))


def _silence_duplicates() -> None:
    for name in _DUPLICATES:
        target = logging.getLogger(name)
        if not any(isinstance(known, _NotADuplicate) for known in target.filters):
            target.addFilter(_NotADuplicate())
