"""Record who changed what, why, on how many, and how it ended.

Front ends do their actions within ``acting``. An audit that cannot be written never stops an action: while the database
is away, the log has the row.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ..domain.actor import Actor
from ..domain.job import utcnow
from ..enqueue.ids import new_id
from ..errors import DatabaseUnavailable
from ..services import Services
from ..store import audit as rows
from ..store.audit import CANCELLED, DONE, FAILED, Row
from ..store.tables import MAX_TARGET
from ..store.types import shortened
from ..text import failures
from ..text.counts import plural
from ..text.lines import Line
from .pauses import operator

LONGEST_REASON = 500
"""Characters of a reason; a longer one is cut in the audit."""
MOST_NAMED = 20
"""Names of targets in one row."""

logger = logging.getLogger("flask_nightshift.audit")


class Action:
    """An action that goes on."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._count: int | None = None

    def acted_on(self, count: int, target: str | None = None) -> None:
        """It has acted on ``count`` jobs, queues, …; ``target``: what they are, if that was not known before."""
        self._count = count
        self._target = self._target if target is None else target

    def failed(self, exc: BaseException) -> None:
        """It ends with ``exc``, which may know on how many it had acted."""
        if self._count is None:
            self._count = getattr(exc, "acted_on", None)

    def ended(self, row: Row, outcome: str, error: str | None) -> Row:
        """The row of the action, which has ended so."""
        return replace(row, target=self._target, count=self._count, outcome=outcome, error=error)


@contextlib.contextmanager
def acting(
    services: Services,
    action: str,
    target: str,
    *,
    by: Actor | str | None = None,
    why: str | None = None,
) -> Iterator[Action]:
    """Record an action: as begun, and when the block ends as done, or as failed if it raises.

    ``action`` is a verb. ``by`` defaults to the user and the host of this process. The block says on how many it acted.
    """
    row = _row(action, target, by, why)
    written = _write(services, row)
    told, outcome, said = Action(row.target), DONE, None
    try:
        yield told
    except BaseException as exc:
        outcome, said = FAILED, _said(exc)
        told.failed(exc)
        raise
    finally:
        # what could not be written at first has cost seconds already
        _end(services, told.ended(row, outcome, said), again=written)


def record(
    services: Services,
    *,
    by: Actor | str | None,
    action: str,
    target: str,
    why: str | None = None,
    count: int | None = None,
    outcome: str = DONE,
    error: BaseException | str | None = None,
) -> None:
    """Record an action that has ended; an ``error`` makes it a failed one. Never raises."""
    said = _said(error) if isinstance(error, BaseException) else error
    outcome = FAILED if said else outcome
    _end(services, replace(_row(action, target, by, why), count=count, outcome=outcome, error=said))


def named(noun: str, names: Sequence[str]) -> str:
    """What an action is about, by names: ``queue mail``, ``queues mail, reports``."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{plural(len(names), noun).partition(' ')[2]} {', '.join(names[:MOST_NAMED])}{more}"


def matching(noun: str, conditions: Mapping[str, object]) -> str:
    """What an action is about, by the conditions of a filter: ``dead letters with task=mail.send``."""
    said = [f"{key}={_value(value)}" for key, value in conditions.items() if value not in (None, "", ())]
    return f"{noun} with {' '.join(said)}" if said else f"all {noun}"


def _value(value: object) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


def _row(action: str, target: str, by: Actor | str | None, why: str | None) -> Row:
    who = by.name if isinstance(by, Actor) else by
    reason = (why or "").strip()[:LONGEST_REASON]
    return Row(new_id(), utcnow(), who or operator(), action, shortened(target, MAX_TARGET), reason or None)


def _end(services: Services, row: Row, *, again: bool = True) -> None:
    row = replace(row, ended_at=utcnow())
    if again and _write(services, row):
        logger.info(_line("audit.recorded", row))
    elif not again:
        logger.warning(_line("audit.not_recorded", row))


def _write(services: Services, row: Row) -> bool:
    try:
        rows.write(services.store, row)
    except DatabaseUnavailable as exc:
        logger.warning(_line("audit.not_recorded", row, why_not=str(exc)))
        return False
    except Exception:
        logger.exception(_line("audit.not_recorded", row))
        return False
    return True


def _line(event: str, row: Row, why_not: str | None = None) -> Line:
    return Line(
        event,
        by=row.by,
        action=row.action,
        target=row.target,
        why=row.why,
        count=row.count,
        outcome=row.outcome,
        error=row.error,
        why_not=why_not,
    )


def _said(exc: BaseException) -> str:
    if isinstance(exc, KeyboardInterrupt):
        return "interrupted"
    if isinstance(exc, SystemExit):
        return "the process was told to end"
    return failures.told(exc)


__all__ = ["CANCELLED", "DONE", "FAILED", "Action", "acting", "matching", "named", "record"]
