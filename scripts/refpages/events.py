"""The log events, from the calls that write them."""

from __future__ import annotations

from collections.abc import Iterator

from . import sources
from .markdown import code
from .markdown import table as table_of

_ORDER = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def table() -> str:
    """A row for each event: name, level, fields, logger."""
    return table_of(("event", "level", "fields", "logger"), _rows())


def _rows() -> Iterator[tuple[str, str, str, str]]:
    told = list(sources.told())
    for event in sorted({name for call in told for name in call.events}):
        calls = [call for call in told if event in call.events]
        levels = sorted({level for call in calls for level in call.levels}, key=_ORDER.index)
        fields = dict.fromkeys(field for call in calls for field in call.fields)
        loggers = sorted({call.logger for call in calls})
        yield code(event), ", ".join(levels), ", ".join(map(code, fields)), ", ".join(map(code, loggers))


__all__ = ["table"]
