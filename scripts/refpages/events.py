"""The log events, from the calls that write them and the sentences about them (``logs/meanings.py``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask_nightshift.logs.meanings import CELERYS, GROUPS

from . import sources
from .markdown import code, table

_ORDER = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_HEAD = ("event", "meaning", "level", "fields", "logger")


def chapters() -> str:
    """A chapter for each subject, with a row for each event: name, meaning, level, fields, logger."""
    parts = ((f"## {subject}", table(_HEAD, _rows(meanings.items()))) for subject, meanings in GROUPS.items())
    return "\n\n".join(part for chapter in parts for part in chapter)


def of_celery() -> str:
    """A table of the lines that have Celery's words and no name."""
    told = {call.text: call for call in sources.told()}
    rows = (
        (code(text), meaning, ", ".join(sorted(told[text].levels)), code(told[text].logger))
        for text, meaning in CELERYS.items()
    )
    return table(("line", "meaning", "level", "logger"), rows)


def _rows(meanings: Iterable[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    told = list(sources.told())
    for event, meaning in meanings:
        calls = [call for call in told if event in call.events]
        levels = sorted({level for call in calls for level in call.levels}, key=_ORDER.index)
        fields = dict.fromkeys(field for call in calls for field in call.fields)
        loggers = sorted({call.logger for call in calls})
        yield (
            code(event),
            meaning,
            ", ".join(levels),
            ", ".join(map(code, fields)),
            ", ".join(map(code, loggers)),
        )


__all__ = ["chapters", "of_celery"]
