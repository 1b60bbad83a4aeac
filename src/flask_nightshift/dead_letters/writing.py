"""Write dead letters to the table, and the deaths that no worker recorded to history and totals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from ..domain.job import DeadLetter, JobState, Outcome, Reason
from ..journal import UNKNOWN, JobRow, Tally, add_totals, dead_row, expired_row, write_jobs
from ..message.arguments import Texts, by_name
from ..message.headers import DEAD, ref
from ..store import Store, ledger
from ..store.tables import dead_letters as table
from ..store.types import MAX_TEXT, key_of
from ..store.upsert import insert
from ..text.lines import LOGGER, Line, job_fields
from ..unique import release_of_dead
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
    texts: Callable[[str | None], Texts] = by_name,
    recorded: bool = True,
    known: Callable[[str], bool] = bool,
    tell: Callable[[DeadLetter], None] = lambda letter: None,  # noqa: ARG005
    drops: Callable[[DeadLetter], bool] = lambda letter: False,  # noqa: ARG005
    ended: Callable[[Sequence[ledger.Ended]], object] = bool,
    stored: Callable[[Sequence[DeadLetter]], object] = bool,
) -> int:
    """Store ``letters``, all or none, in few round trips; returns the number of new ones.

    ``texts`` tells how the arguments of a task, given by its name, are shown in the history, if jobs are ``recorded``
    there. ``known`` tells whether a task of that name exists; all other names count as one. ``tell`` is called with
    each new letter that the broker itself buried, ``ended`` with the outcomes of durable jobs. ``drops`` tells which of
    the letters that the broker buried are not stored: history and totals say that their jobs have expired. ``stored``
    is called with all new letters. Raises ``DatabaseUnavailable``.
    """
    # one order in all processes, so that they do not deadlock on the rows that they share
    in_order = sorted(letters, key=lambda letter: (letter.job_id or "", letter.id))
    if not in_order:
        return 0
    dropped = {letter.id for letter in in_order if _buried_by_the_broker(letter) and drops(letter)}
    with store.begin(timeout=DATABASE_SECONDS) as connection:
        ids = _store(connection, [letter for letter in in_order if letter.id not in dropped])
        # compare ids as they are stored, because a long one is shortened
        new = [letter for letter in in_order if letter.id in dropped or key_of(letter.id) in ids]
        if recorded:
            of_jobs = [letter for letter in new if letter.job_id]
            rows = [_job_row(letter, letter.id in dropped, texts) for letter in of_jobs]
            write_jobs(connection, rows, tagged=_tags(of_jobs))
        add_totals(connection, _uncounted(new, known).rows(worker))
        release_of_dead(connection, [key_of(letter.job_id) for letter in new if letter.job_id])
        outcomes = [found for found in map(_ended_by, new) if found is not None]
        ledger.close(connection, outcomes)
    if outcomes:
        ended(outcomes)
    for letter in new:
        _log_end(letter, letter.id in dropped)
        if _buried_by_the_broker(letter):
            _told(letter, tell)
    stored([letter for letter in new if letter.id not in dropped])
    return len(new)


def _store(connection: Connection, letters: Sequence[DeadLetter]) -> set[str]:
    """Store the letters that are new; returns their ids as they are stored."""
    if not letters:
        return set()
    statement = insert(connection.dialect.name, table).values([row(letter) for letter in letters])
    statement = statement.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)
    return set(connection.execute(statement).scalars())


def _ended_by(letter: DeadLetter) -> ledger.Ended | None:
    """What the death of a durable job says about the ledger; None if the job is not durable."""
    job = ref(letter.headers, letter.queue)
    return ledger.Ended(job.durable, job.run, JobState.DEAD.value, letter.at) if job.durable else None


def _told(letter: DeadLetter, tell: Callable[[DeadLetter], None]) -> None:
    try:
        tell(letter)
    except Exception:
        logger.exception("dead_letters.untold", extra={"letter_id": letter.id, "job_id": letter.job_id})


def _log_end(letter: DeadLetter, dropped: bool) -> None:
    """Log the end of a job that RabbitMQ itself buried, because no worker logs it."""
    if DEAD in letter.headers:
        return
    fields = job_fields(ref(letter.headers, letter.queue)) if letter.job_id else {"queue": letter.queue}
    if dropped:
        jobs_log.info(Line("job.expired", "dropped: it had expired before it could start", **fields))
        return
    why = letter.failure.message if letter.failure else "by the broker, not by a worker"
    text = f"buried as a dead letter ({letter.reason}): {why}"
    jobs_log.error(Line("job.dead", text, **fields, reason=str(letter.reason), error_message=why))


def _job_row(letter: DeadLetter, dropped: bool, texts: Callable[[str | None], Texts]) -> JobRow:
    headers = letter.headers
    if dropped:
        return expired_row(ref(headers, letter.queue), letter.at)
    args, kwargs = texts(letter.task).recorded(headers, letter.body if len(letter.body) <= MAX_TEXT else b"")
    return dead_row(
        ref(headers, letter.queue), letter.at, letter.reason, letter.failure,
        worker=letter.worker, args=args, kwargs=kwargs,
    )  # fmt: skip


def _tags(letters: Iterable[DeadLetter]) -> dict[str, tuple[str, ...]]:
    jobs = [ref(letter.headers, letter.queue) for letter in letters]
    return {job.job_id: job.tags for job in jobs if job.tags}


def _uncounted(letters: Iterable[DeadLetter], known: Callable[[str], bool]) -> Tally:
    """The deaths among ``letters`` that no worker counted."""
    tally = Tally()
    for letter in letters:
        if _buried_by_the_broker(letter):
            task = letter.task or ""
            task = task if not task or known(task) else UNKNOWN
            outcome = Outcome.EXPIRED if letter.reason is Reason.EXPIRED else Outcome.DEAD
            tally.add(letter.at, task, letter.queue, outcome, None, None, letter.reason)
    return tally


def _buried_by_the_broker(letter: DeadLetter) -> bool:
    """Whether no worker settled the letter, so that none counted it.

    Then it lacks the note of ``message.burial``: it has RabbitMQ's, none, or the shorter one of the lease transport,
    which has no traceback.
    """
    note = letter.headers.get(DEAD)
    return not (isinstance(note, Mapping) and "traceback" in note)


__all__ = ["archive"]
