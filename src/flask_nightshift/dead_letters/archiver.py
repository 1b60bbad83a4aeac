"""From the broker's dead-letter queue into the table, without losing or doubling one.

A letter is acknowledged after the commit that stored it. When the acknowledgement is lost it comes again and
is recognised by its id. With the database away the letters stay in the queue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection

from ..brokers.base import Broker, PendingDeadLetter
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..job import DeadLetter, Outcome, utcnow
from ..journal import count_outcome, record_dead
from ..message import DEAD, arguments, attempts, fingerprint, ref
from ..store import Store
from ..store.forks import when_forked
from ..store.tables import dead_letters as table
from ..store.upsert import insert
from .letters import Status

INTERVAL = 1.0
"""Seconds between two looks into the dead-letter queue."""
BACKOFF_MAX = 30.0
"""Seconds between two tries while the database or the broker is away."""
BATCH = 100
TIMEOUT = 20.0

logger = logging.getLogger("flask_nightshift.dead_letters")


class Archiver:
    """The thread that archives dead letters, one in each worker; several at once share the work.

    ``worker`` names it in the totals, to which it adds the jobs that the broker itself buried.
    """

    def __init__(self, broker: Broker, store: Store, *, worker: str = "archiver") -> None:
        self._broker = broker
        self._store = store
        self._worker = worker
        self._away = False
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: no thread runs, and no lock is held."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = self._stopping = False

    def run_once(self) -> int:
        """Archive what is in the dead-letter queue now; how many letters.

        Raises ``DatabaseUnavailable`` or ``BrokerUnavailable``; what was not archived stays in the queue.
        """
        total = 0
        while True:
            self._store.ping()  # before a letter is taken: one that cannot be stored is left where it is
            pending = self._broker.take_dead_letters(BATCH)
            archived = self._archive(pending)
            total += len(archived)
            for letter in archived:
                letter.done()
            if len(archived) < BATCH:
                return total

    def _archive(self, pending: Sequence[PendingDeadLetter]) -> Sequence[PendingDeadLetter]:
        """Store ``pending``; those that are stored."""
        try:
            archive(self._store, [item.letter for item in pending], worker=self._worker)
        except DatabaseUnavailable:
            raise
        except Exception:
            logger.exception("dead_letters.batch_refused", extra={"letters": len(pending)})
            return [item for item in pending if self._archive_one(item)]
        return pending

    def _archive_one(self, item: PendingDeadLetter) -> bool:
        try:
            archive(self._store, [item.letter], worker=self._worker)
        except DatabaseUnavailable:
            raise
        except Exception:  # it stays in the queue, and the others do not wait for it
            logger.exception("dead_letters.letter_refused", extra={"letter_id": item.letter.id})
            return False
        return True

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._changed:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stopping = False
            self._thread = threading.Thread(target=self._run, name="nightshift-archiver", daemon=True)
            self._thread.start()

    def notify(self) -> None:
        """A letter has just been buried: archive it now."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the batch it is at, waiting ``timeout`` seconds for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _run(self) -> None:
        pause = 0.0
        while self._wait(pause):
            pause = INTERVAL if self._try() else min(BACKOFF_MAX, max(INTERVAL, pause * 2))

    def _wait(self, pause: float) -> bool:
        """Rest for ``pause`` seconds, or until told; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or (self._wanted and not self._away), pause)
            self._wanted = False
            return not self._stopping

    def _try(self) -> bool:
        try:
            archived = self.run_once()
        except (DatabaseUnavailable, BrokerUnavailable) as exc:
            if not self._away:
                logger.warning("dead_letters.archive_paused", extra={"error": str(exc)})
            self._away = True
            return False
        except Exception:
            logger.exception("dead_letters.archive_failed")
            return False
        if self._away:
            logger.warning("dead_letters.archive_resumed", extra={"archived": archived})
        self._away = False
        return True


def archive(store: Store, letters: Iterable[DeadLetter], *, worker: str) -> int:
    """Store ``letters``, all or none; how many of them were new. Raises ``DatabaseUnavailable``."""
    # every process takes the rows that it shares with others in one order
    in_order = sorted(letters, key=lambda letter: (letter.job_id or "", letter.id))
    if not in_order:
        return 0
    with store.begin(timeout=TIMEOUT) as connection:
        return sum(_archive(connection, letter, worker) for letter in in_order)


def _archive(connection: Connection, letter: DeadLetter, worker: str) -> bool:
    statement = insert(connection.dialect.name, table).values(_row(letter))
    statement = statement.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)
    is_new = connection.execute(statement).first() is not None
    if is_new and letter.job_id:
        _tell_the_journal(connection, letter)
    if is_new and _buried_by_the_broker(letter):
        task, queue = letter.task or "", letter.queue
        count_outcome(connection, worker, letter.at, task, queue, Outcome.DEAD)
    return is_new


def _tell_the_journal(connection: Connection, letter: DeadLetter) -> None:
    args, kwargs = arguments(letter.headers, letter.body)
    record_dead(
        connection,
        ref(letter.headers, letter.queue),
        letter.at,
        letter.reason,
        letter.failure,
        worker=letter.worker,
        args=args,
        kwargs=kwargs,
    )


def _buried_by_the_broker(letter: DeadLetter) -> bool:
    """Whether no worker settled it, so that none counted it.

    It has not the note that ``message.buried`` writes, but RabbitMQ's, none, or the shorter one of the lease
    transport, which has no traceback.
    """
    note = letter.headers.get(DEAD)
    return not (isinstance(note, Mapping) and "traceback" in note)


def _row(letter: DeadLetter) -> dict[str, object]:
    now = utcnow()
    failure = letter.failure
    return {
        "id": letter.id,
        "job_id": letter.job_id,
        "task": letter.task,
        "queue": letter.queue,
        "reason": letter.reason,
        "error": failure.error if failure else None,
        "message": failure.message if failure else None,
        "traceback": failure.traceback if failure else None,
        "fingerprint": fingerprint(letter),
        "at": letter.at,
        "archived_at": now,
        "status": Status.WAITING,
        "status_at": now,
        "worker": letter.worker,
        "body": letter.body,
        "content_type": letter.content_type,
        "content_encoding": letter.content_encoding,
        "headers": letter.headers,
        "properties": letter.properties,
        "attempts": attempts(letter.headers),
    }


__all__ = ["BACKOFF_MAX", "INTERVAL", "Archiver", "archive"]
