"""The options of a task, from their definitions (``options/of_tasks.py``) and from a task that sets none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.options.of_tasks import EVERY_TASK, OPTIONS

from .markdown import beside, code
from .markdown import table as table_of


def chapters() -> str:
    """The options for one or all tasks, and those for one task, each with a row: name, default, values, meaning."""
    head, plain = ("option", "default", "values", "meaning"), _plain_task()
    parts = [
        "## For one task, or for all",
        table_of(head, _rows(plain, [name for name in OPTIONS if name in EVERY_TASK])),
        "## For one task",
        table_of(head, _rows(plain, [name for name in OPTIONS if name not in EVERY_TASK])),
    ]
    return "\n\n".join(parts)


def _rows(plain: Any, names: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    for name in names:
        option = OPTIONS[name]
        values = option.kind.allowed.removeprefix("give ").partition(", or leave it out")[0]
        yield code(name), option.default or _shown(plain, name), values, beside(option.meaning)


def _plain_task() -> Any:
    app = Flask("reference")
    app.config.update(TESTING=True, NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_DATABASE_URL="sqlite://")
    jobs = Nightshift(app)
    try:

        @jobs.task(name="plain", shared=False)
        def plain() -> None: ...

        return app.extensions["celery"].tasks["plain"]
    finally:
        jobs.close(app)


def _shown(task: Any, name: str) -> str:
    value = getattr(task, name)
    if isinstance(value, tuple):
        names = ", ".join(each.__name__ for each in value)
        return code(f"({names},)" if len(value) == 1 else f"({names})")
    return "none" if value is None else code(repr(value))


__all__ = ["chapters"]
