"""The processors of a log line: they add its job and its request, hide passwords, and format it."""

from __future__ import annotations

import os
import re
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ..domain.context import current_job
from ..enqueue.request_id import request_id
from ..text.lines import Line, job_fields
from ..text.passwords import HIDDEN, hide_password, is_secret
from ..text.printable import as_json, in_a_line, indented

_CELERY_JOB = re.compile(r"(?P<task>[\w.-]+)\[(?P<job_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\]")
_CELERY_EXTRA = ("data",)
_FIRST = ("timestamp", "level", "event", "message", "job_id", "task", "attempt", "queue", "request_id")


def _unfold(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Our own records carry a ``Line``, whose fields become fields of the log line."""
    record = event.get("_record")
    if record is not None and isinstance(record.msg, Line):
        line = record.msg
        event.update(line.fields, event=line.event)
        if line.text:
            event["message"] = line.text
    return event


def _drop_formatted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Attributes that one of the app's formatters left on the record for its own handler; they are never logged."""
    if "_record" in event:
        for key in ("message", "asctime"):
            event.pop(key, None)
    return event


def _drop_celery_extra(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    if record is not None and record.name.startswith("celery"):
        for key in _CELERY_EXTRA:
            event.pop(key, None)
    return event


def _add_job(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the job whose code logs, else the job that Celery's line names, else the web request."""
    job = current_job.get()
    if job is not None:
        return {**job_fields(job), **event}
    record = event.get("_record")
    if record is not None and record.name.startswith("celery") and "job_id" not in event:
        named = _CELERY_JOB.search(str(event.get("event")))
        if named:
            event.update(named.groupdict())
    if "request_id" not in event and (current := request_id()):
        event["request_id"] = current
    return event


def _hide_passwords(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: value if key.startswith("_") else _hidden(value, key) for key, value in event.items()}


def _hidden(value: Any, name: object = None) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if is_secret(name):
        return HIDDEN
    if isinstance(value, dict):
        return {str(key): _hidden(inner, key) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden(inner) for inner in value]
    return hide_password(value if isinstance(value, str) else str(value))


def _one_sentence(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Drop fields that repeat the sentence, because in a terminal they would push it out of sight."""
    if "message" in event:
        event["event"] = f"{event['event']} {event.pop('message')}"
        for key in ("attempts_allowed", "error", "error_message", "wait", "due", "runtime", "reason", "why"):
            event.pop(key, None)
    event.pop("logger", None)
    return event


def _harmless(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep a job's text from controlling the terminal, and its further lines from looking like log lines."""
    shown = {
        in_a_line(key): indented(value) if isinstance(value, str) else value for key, value in event.items()
    }
    for key in {"exception", "stack"} & shown.keys():
        shown[key] = f"    {shown[key]}"
    return shown


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Order the fields by what a person looks for first."""
    return {**{key: event[key] for key in _FIRST if key in event}, **event}


def console(stream: IO[str]) -> list[Processor]:
    """The last processors of a line for people; with colour in a terminal or if ``FORCE_COLOR`` is set."""
    colors = "NO_COLOR" not in os.environ and (stream.isatty() or "FORCE_COLOR" in os.environ)
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, pad_level=False, exception_formatter=structlog.dev.plain_traceback
    )
    clock = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return [clock, structlog.processors.format_exc_info, _hide_passwords, _one_sentence, _harmless, renderer]


SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    _drop_formatted,
    structlog.processors.StackInfoRenderer(),
    _drop_celery_extra,
    _unfold,
    _add_job,
]


def as_lines_of_json(*, ascii_only: bool) -> list[Processor]:
    """The last processors of a line for programs; set ``ascii_only`` for an output that is not UTF-8."""

    def render(_: WrappedLogger, __: str, event: EventDict) -> str:
        return as_json(event, ascii_only=ascii_only)

    clock = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return [clock, structlog.processors.format_exc_info, _hide_passwords, _in_order, render]
