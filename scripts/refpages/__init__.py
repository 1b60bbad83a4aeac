"""The lists in docs/ that are written from the source: settings, options, commands, endpoints, metrics, log events, …

A page is Markdown that people write. What stands between ``<!-- begin NAME -->`` and ``<!-- end -->`` is a list that
this package writes. ``make reference`` updates the pages in place, and a test compares them with the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from . import celery_settings, chaos, commands, endpoints, events, metrics, outputs, settings, task_options

ROOT = Path(__file__).parents[2]
PATHS = (*sorted((ROOT / "docs" / "reference").glob("*.md")), ROOT / "docs" / "how-to" / "chaos.md")
"""Pages that may have lists."""
LISTS: dict[str, Callable[[], str]] = {
    "celery-settings": celery_settings.table,
    "chaos-beat-columns": chaos.beat_columns,
    "chaos-beat-faults": chaos.beat_faults,
    "chaos-brokers": chaos.brokers,
    "chaos-checks": chaos.checks,
    "chaos-columns": chaos.columns,
    "chaos-faults": chaos.faults,
    "chaos-parameters": chaos.parameters,
    "commands": commands.chapters,
    "dashboard": endpoints.of_the_dashboard,
    "http-api": endpoints.of_the_api,
    "http-endpoints": endpoints.of_programs,
    "json": outputs.chapters,
    "log-events": events.chapters,
    "log-events-of-celery": events.of_celery,
    "metrics": metrics.table,
    "settings": settings.table,
    "task-options": task_options.chapters,
}
"""By name, the function that makes the list, as Markdown."""

_PLACE = re.compile(r"(<!-- begin ([\w-]+) .*?-->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Each page that has a list, with its text as it should be."""
    texts = {path: path.read_text(encoding="utf-8") for path in PATHS}
    return {path: _PLACE.sub(_filled, text) for path, text in texts.items() if _PLACE.search(text)}


def places(text: str) -> list[str]:
    """The names of the lists that a page has."""
    return [name for _, name, _ in _PLACE.findall(text)]


def _filled(place: re.Match[str]) -> str:
    begin, name, end = place.groups()
    return f"{begin}\n{LISTS[name]()}\n\n{end}"


__all__ = ["LISTS", "PATHS", "pages", "places"]
