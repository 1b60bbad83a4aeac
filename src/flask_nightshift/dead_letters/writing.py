"""Write dead letters to the table, and the deaths that no worker recorded to history and totals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from ..domain.job import DeadLetter, Outcome
from ..journal import UNKNOWN, JobRow, Tally, add_totals, dead_row, write_jobs
from ..message.arguments import arguments
from ..message.headers import DEAD, ref
from ..store import Store
from ..store.tables import dead_letters as table
from ..store.types import MAX_TEXT, key_of
from ..store.upsert import insert
from ..text.lines import LOGGER, Line, job_fields
from .letters import row

DATABASE_SECONDS = 20.0
"""Maximum seconds for a transaction."""

logger = logging.getLogger("flask_nightshift.dead_letters")
jobs_log = logging.getLogger(LOGGER)


def archive(
    store: Store,
    letters: Iterable[DeadLetter],
    *,
    worker: str,
    known: Callable[[str], bool] = bool,
    tell: Callable[[DeadLetter], None] = lambda letter: None,  # noqa: ARG005
) -> int:
    """Store ``letters``, all or none, in few round trips; returns the number of new ones.

    ``known`` tells whether a task of that name exists; all other names count as one. ``tell`` is called with each new
    letter that the broker itself buried. Raises ``DatabaseUnavailable``.
    """
    # one order in all processes, so that they do not deadlock on the rows that they share
    in_order = sorted(letters, key=lambda letter: (letter.job_id or "", letter.id))
    rows = [row(letter) for letter in in_order]
    if not rows:
        return 0
    with store.begin(timeout=DATABASE_SECONDS) as connection:
        statement = insert(connection.dialect.name, table).values(rows)
        statement = statement.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)
        stored = set(connection.execute(statement).scalars())
        # compare ids as they are stored, because a long one is shortened
        new = [letter for letter in in_order if key_of(letter.id) in stored]
        write_jobs(connection, [_dead_row(letter) for letter in new if letter.job_id])
        add_totals(connection, _uncounted(new, known).rows(worker))
    for letter in new:
        _log_burial(letter)
        if _buried_by_the_broker(letter):
            _told(letter, tell)
    return len(new)


def _told(letter: DeadLetter, tell: Callable[[DeadLetter], None]) -> None:
    try:
        tell(letter)
    except Exception:
        logger.exception("dead_letters.untold", extra={"letter_id": letter.id, "job_id": letter.job_id})


def _log_burial(letter: DeadLetter) -> None:
    """Log the death of a job that RabbitMQ itself buried, because no worker logs it."""
    if DEAD in letter.headers:
        return
    fields = job_fields(ref(letter.headers, letter.queue)) if letter.job_id else {"queue": letter.queue}
    why = letter.failure.message if letter.failure else "by the broker, not by a worker"
    text = f"buried as a dead letter ({letter.reason}): {why}"
    jobs_log.error(Line("job.dead", text, **fields, reason=str(letter.reason), error_message=why))


def _dead_row(letter: DeadLetter) -> JobRow:
    headers = letter.headers
    args, kwargs = arguments(headers, letter.body if len(letter.body) <= MAX_TEXT else b"")
    return dead_row(
        ref(headers, letter.queue), letter.at, letter.reason, letter.failure,
        worker=letter.worker, args=args, kwargs=kwargs,
    )  # fmt: skip


def _uncounted(letters: Iterable[DeadLetter], known: Callable[[str], bool]) -> Tally:
    """The deaths among ``letters`` that no worker counted."""
    tally = Tally()
    for letter in letters:
        if _buried_by_the_broker(letter):
            task = letter.task or ""
            task = task if not task or known(task) else UNKNOWN
            tally.add(letter.at, task, letter.queue, Outcome.DEAD, None, None, letter.reason)
    return tally


def _buried_by_the_broker(letter: DeadLetter) -> bool:
    """Whether no worker settled the letter, so that none counted it.

    Then it lacks the note of ``message.burial``: it has RabbitMQ's, none, or the shorter one of the lease transport,
    which has no traceback.
    """
    note = letter.headers.get(DEAD)
    return not (isinstance(note, Mapping) and "traceback" in note)


__all__ = ["archive"]
