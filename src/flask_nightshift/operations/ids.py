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
from ..store import Store, ids
from ..store.outbox_rows import WAITING
from ..store.tables import dead_letters as letters
from ..store.tables import jobs, outbox
from ..text.printable import in_a_line

LEAST = ids.LEAST
"""Minimum number of characters of a part of an id, so that an action does not hit a job by chance."""
_SEVERAL = 6
_LETTERS = 100
"""Dead letters that are looked at: a job has one for each of its deaths."""
_IN_ORDER = (letters.c.status != Status.WAITING, letters.c.at.desc(), letters.c.id.desc())
_LONGEST = 80


def letter_id(store: Store, given: str) -> str:
    """The id of the one dead letter that ``given`` means: its id or its job's, or the start or end of either.

    Of several letters of one job, it is the one that waits, else the one of its latest death. Raises
    ``DeadLetterNotFound`` or ``DatabaseUnavailable``.
    """
    found = _letters(store, given)
    if len(found) > 1 and len({row.job_id for row in found}) == 1 and found[0].job_id:
        found = [row for row in found if row.status == Status.WAITING] or found[:1]
    known = [row.id for row in found[:_SEVERAL]]
    said = problem("dead letter", given, known, "'flask jobs dead list' shows them")
    if said:
        raise DeadLetterNotFound(said)
    return str(found[0].id)


def job_id(store: Store, given: str, note: str = "") -> str:
    """The id of the one job that ``given`` means: an id, its start or its end.

    ``note`` says which jobs the history records, if not all. Raises ``JobNotFound`` or ``DatabaseUnavailable``.
    """
    found: list[str] = []
    if given.strip():
        with store.read() as connection:
            whole = connection.execute(select(jobs.c.id).where(jobs.c.id == given)).scalars().all()
            found = list(whole) or ids.jobs_like(connection, given, _SEVERAL)
    return only("job", given, found, note or "the history keeps jobs for NIGHTSHIFT_KEEP_JOBS_DAYS")


def delayed_id(hold: DelayedJobs, queues: Sequence[str], given: str) -> str:
    """The id of the one delayed job that ``given`` means: an id, its start or its end; ``given`` if there is none.

    Raises ``JobNotFound`` if there are several, or ``BrokerUnavailable``.
    """
    found = [id_ for queue in queues for id_ in (hold.like(queue, given, _SEVERAL) if given else ())]
    found = [given] if given in found else list(dict.fromkeys(found))
    return only("delayed job", given, found or [given], "'flask jobs delayed list' shows them")


def waiting_ids(store: Store, given: str) -> list[Any]:
    """The rows of jobs in the outbox of ``store`` that ``given`` may mean; raises ``DatabaseUnavailable``."""
    mine = or_(
        outbox.c.job_id.startswith(given, autoescape=True), outbox.c.job_id.endswith(given, autoescape=True)
    )
    query = select(outbox.c.job_id, outbox.c.task, outbox.c.queue).where(outbox.c.state == WAITING, mine)
    if not given.strip():
        return []
    with store.read() as connection:
        found = connection.execute(query.order_by(outbox.c.created_at.desc()).limit(_SEVERAL)).all()
    return [row for row in found if row.job_id == given] or list(found)


def _letters(store: Store, given: str) -> list[Any]:
    """Up to ``_LETTERS`` dead letters that ``given`` may mean: those that wait first, then the latest death first.

    They are the one with that id, else those of the job with that id, else those with it as a part of either.
    """
    if not given.strip():
        return []
    columns = (letters.c.id, letters.c.job_id, letters.c.status)
    with store.read() as connection:
        for condition in (letters.c.id == given, letters.c.job_id == given):
            query = select(*columns).where(condition).order_by(*_IN_ORDER).limit(_LETTERS)
            if found := connection.execute(query).all():
                return list(found)
        like = letters.c.id.in_(ids.letters_like(connection, given, _LETTERS))
        return list(connection.execute(select(*columns).where(like).order_by(*_IN_ORDER)))


def only(noun: str, given: str, found: Sequence[str], hint: str) -> str:
    """The one id in ``found`` that ``given`` means; raises ``JobNotFound`` with a ``hint``."""
    said = problem(noun, given, found, hint)
    if said:
        raise JobNotFound(said)
    return found[0]


def problem(noun: str, given: str, found: Sequence[str], hint: str) -> str:
    """Why ``given`` does not mean exactly one of ``found``; empty if it does."""
    shown = repr(given if len(given) <= _LONGEST else f"{given[:_LONGEST]}…")
    if given.strip() and not found:
        few = f", and it is not enough to look for its end: give {LEAST} characters or more"
        return f"there is no {noun} {shown}{few if len(given) < LEAST else ''}; {hint}"
    if len(found) == 1 and (len(given) >= LEAST or given == found[0]):
        return ""
    some = ", ".join(map(in_a_line, found[: _SEVERAL - 1])) + (" and more" if len(found) == _SEVERAL else "")
    may_be = f": it may be {some}" if len(found) > 1 else f": give {LEAST} characters or more of its id"
    return f"{shown} is not enough to tell one {noun}{may_be}"


__all__ = ["delayed_id", "job_id", "letter_id", "only", "problem", "waiting_ids"]
