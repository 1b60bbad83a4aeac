"""Find the job or dead letter that an operator means by a part of its id.

A job's id begins with the time, which the jobs of one minute share, so lists show the end of ids. The start or the end
of an id will do if it fits only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_, select

from ..brokers.base import DelayedJobs
from ..dead_letters import Status
from ..errors import DeadLetterNotFound, JobNotFound
from ..store import Store
from ..store.tables import dead_letters as letters
from ..store.tables import jobs
from ..text.printable import in_a_line

LEAST = 4
"""Minimum number of characters of a part of an id, so that an action does not hit a job by chance."""
_SEVERAL = 6
_LONGEST = 80


def letter_id(store: Store, given: str) -> str:
    """The id of the one dead letter that ``given`` means: its id or its job's, or the start or end of either.

    Of several letters of one job, it is the one that waits. Raises ``DeadLetterNotFound`` or ``DatabaseUnavailable``.
    """
    found = _matches(store, letters, (letters.c.id, letters.c.job_id), given, letters.c.at.desc())
    if len({row.job_id for row in found}) == 1 and len(found) > 1:
        found = [row for row in found if row.status == Status.WAITING] or found
    problem = _problem("dead letter", given, [row.id for row in found], "'flask jobs dead list' shows them")
    if problem:
        raise DeadLetterNotFound(problem)
    return str(found[0].id)


def job_id(store: Store, given: str) -> str:
    """The id of the one job that ``given`` means: an id, its start or its end.

    Raises ``JobNotFound`` or ``DatabaseUnavailable``.
    """
    found = [row.id for row in _matches(store, jobs, (jobs.c.id,), given, jobs.c.updated_at.desc())]
    return _only("job", given, found, "the history keeps jobs for NIGHTSHIFT_KEEP_JOBS_DAYS")


def delayed_id(hold: DelayedJobs, queues: Sequence[str], given: str) -> str:
    """The id of the one delayed job that ``given`` means: an id, its start or its end; ``given`` if there is none.

    Raises ``JobNotFound`` if there are several, or ``BrokerUnavailable``.
    """
    found = [id_ for queue in queues for id_ in (hold.like(queue, given, _SEVERAL) if given else ())]
    found = [given] if given in found else list(dict.fromkeys(found))
    return _only("delayed job", given, found or [given], "'flask jobs delayed list' shows them")


def _matches(store: Store, table: Any, columns: Sequence[Any], given: str, order: Any) -> list[Any]:
    """Up to ``_SEVERAL`` rows that ``given`` may mean: those with that whole id, else those with it as a part."""
    if not given.strip():
        return []
    whole = or_(*(column == given for column in columns))
    part = or_(
        *(column.startswith(given, autoescape=True) for column in columns),
        *(column.endswith(given, autoescape=True) for column in columns),
    )
    with store.read() as connection:
        for condition in (whole, part):
            found = connection.execute(select(table).where(condition).order_by(order).limit(_SEVERAL)).all()
            exact = [row for row in found if row.id == given]
            if found:
                return exact or list(found)
    return []


def _only(noun: str, given: str, found: Sequence[str], hint: str) -> str:
    problem = _problem(noun, given, found, hint)
    if problem:
        raise JobNotFound(problem)
    return found[0]


def _problem(noun: str, given: str, found: Sequence[str], hint: str) -> str:
    """Why ``given`` does not mean exactly one of ``found``; empty if it does."""
    shown = repr(given if len(given) <= _LONGEST else f"{given[:_LONGEST]}…")
    if given.strip() and not found:
        return f"there is no {noun} {shown}; {hint}"
    if len(found) == 1 and (len(given) >= LEAST or given == found[0]):
        return ""
    some = ", ".join(map(in_a_line, found[: _SEVERAL - 1])) + (" and more" if len(found) == _SEVERAL else "")
    may_be = f": it may be {some}" if len(found) > 1 else f": give {LEAST} characters or more of its id"
    return f"{shown} is not enough to tell one {noun}{may_be}"


__all__ = ["delayed_id", "job_id", "letter_id"]
