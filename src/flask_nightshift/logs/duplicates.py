"""Celery's log lines that repeat ours, which say more about an attempt or a tick: they are dropped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

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
"""By logger, the formats that are dropped; all other lines of Celery stay."""


class NotADuplicate(logging.Filter):
    """Passes Celery's records, except those that repeat our lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if record.msg not in _DUPLICATES.get(record.name, ()):
            return True
        return isinstance(record.args, dict) and bool(record.args.get("internal"))


def silence_duplicates() -> list[tuple[logging.Logger, NotADuplicate]]:
    """Drop the duplicates in this process; returns the filters that it has added."""
    added = []
    for name in _DUPLICATES:
        target = logging.getLogger(name)
        if not any(isinstance(known, NotADuplicate) for known in target.filters):
            mine = NotADuplicate()
            target.addFilter(mine)
            added.append((target, mine))
    return added


@contextmanager
def without_duplicates() -> Iterator[None]:
    """Drop the duplicates within the block."""
    added = silence_duplicates()
    try:
        yield
    finally:
        for target, mine in added:
            target.removeFilter(mine)


def repeats_ours(logger: logging.Logger, form: str) -> bool:
    """Whether ``logger`` drops every line of the format ``form``, before anyone else sees it."""
    first = logger.filters[0] if logger.filters else None
    return isinstance(first, NotADuplicate) and form in _DUPLICATES.get(logger.name, ())


__all__ = ["NotADuplicate", "repeats_ours", "silence_duplicates", "without_duplicates"]
