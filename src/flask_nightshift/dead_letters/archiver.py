"""From the broker's dead-letter queue into the table, without losing or doubling one.

A letter is acknowledged after the commit that stored it. When the acknowledgement is lost it comes again and
is recognised by its id. With the database away the letters stay in the queue. A letter that the table refuses for its
content is set aside whole in another one (``store/refused.py``), or, too large for that, in another queue, and holds
up no other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..brokers.base import Broker, PendingDeadLetter
from ..domain.job import DeadLetter, Outcome, utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..journal import UNKNOWN, Tally, add_totals, dead_row, write_jobs
from ..lifetime.forks import when_forked
from ..message.arguments import arguments
from ..message.burial import REFUSED_QUEUE, fingerprint
from ..message.envelope import Envelope
from ..message.headers import DEAD, attempts, ref
from ..store import Store, refused
from ..store.halving import halve
from ..store.tables import dead_letters as table
from ..store.types import MAX_TEXT, key_of
from ..store.upsert import insert
from ..text.lines import LOGGER, Line, job_fields
from .claims import STALE, take_back
from .letters import Status, packed

BATCH = 100
MAX_BYTES = 4_000_000
"""Bytes of the letters that are taken at once, but for the last: one costs a few times its size in memory."""
INTERVAL = 5.0
"""Seconds between two looks into the dead-letter queue, for what others buried; this worker's own burials wake it."""
GATHER = 0.2
"""Seconds for which a letter waits for others, to be stored with them."""
AGAIN = 1.0
"""Seconds before the first new try while the database or the broker is away; then twice as long each time."""
BACKOFF_MAX = 30.0
"""Seconds between two tries while the database or the broker is away."""
DATABASE_SECONDS = 20.0

logger = logging.getLogger("flask_nightshift.dead_letters")
jobs_log = logging.getLogger(LOGGER)


class Archiver:
    """The thread that archives dead letters, one in each worker; several at once share the work.

    ``worker`` names it in the totals, to which it adds the jobs that the broker itself buried; ``known`` tells whether
    a task of that name exists; ``tell`` is called with each letter that the broker buried, once it is stored.
    """

    def __init__(
        self,
        broker: Broker,
        store: Store,
        *,
        worker: str = "archiver",
        known: Callable[[str], bool] = bool,
        tell: Callable[[DeadLetter], None] = lambda letter: None,  # noqa: ARG005
    ) -> None:
        self._broker = broker
        self._store = store
        self._worker = worker
        self._known = known
        self._tell = tell
        self._away = False
        self._take_back_at = 0.0
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
            kept = self._archive(self._broker.take_dead_letters(BATCH, MAX_BYTES))
            for item in kept:
                item.done()
            total += len(kept)
            if not kept:
                return total

    def _take_back(self) -> None:
        """End the claims of replays that died, so that their letters are seen to wait."""
        now = time.monotonic()
        if now >= self._take_back_at:
            take_back(self._store)
            self._take_back_at = now + STALE / 2

    def _archive(self, pending: Sequence[PendingDeadLetter]) -> list[PendingDeadLetter]:
        """Store ``pending``; those that are stored, or set aside."""
        left: set[str] = set()

        def set_aside(item: PendingDeadLetter, why: Exception) -> None:
            if not self._set_aside(item.letter, why):
                left.add(item.letter.id)

        halve(pending, lambda part: self._store_all([item.letter for item in part]), set_aside)
        return [item for item in pending if item.letter.id not in left]

    def _store_all(self, letters: Sequence[DeadLetter]) -> int:
        return archive(self._store, letters, worker=self._worker, known=self._known, tell=self._tell)

    def _set_aside(self, letter: DeadLetter, why: Exception) -> bool:
        """Keep a letter elsewhere that the table refuses: in another table, else in another queue."""
        try:
            refused.set_aside(self._store, refused.LETTER, letter.id, self._worker, why, packed(letter))
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - the database takes it nowhere
            return self._park(letter, exc)
        return True

    def _park(self, letter: DeadLetter, why: Exception) -> bool:
        extra = {"letter_id": letter.id, "job_id": letter.job_id, "error": str(why)[:2000]}
        whole = Envelope(
            letter.body, letter.headers, letter.properties, letter.content_type, letter.content_encoding
        )
        try:
            self._broker.publish(whole, REFUSED_QUEUE)
        except BrokerUnavailable:
            raise
        except Exception:  # it stays in the dead-letter queue, and the others do not wait for it
            logger.exception("dead_letters.letter_refused", extra=extra)
            return False
        logger.error("dead_letters.letter_parked", extra={**extra, "queue": REFUSED_QUEUE})
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
        pause, failures = 0.0, 0
        while self._wait(pause):
            failures = 0 if self._try() else failures + 1
            pause = min(BACKOFF_MAX, AGAIN * 2 ** min(failures - 1, 10)) if failures else INTERVAL

    def _wait(self, pause: float) -> bool:
        """Rest for ``pause`` seconds, or until told; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or (self._wanted and not self._away), pause)
            if self._wanted:
                self._changed.wait_for(lambda: self._stopping, GATHER)
            self._wanted = False
            return not self._stopping

    def _try(self) -> bool:
        try:
            archived = self.run_once()
            self._take_back()
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


def archive(
    store: Store,
    letters: Iterable[DeadLetter],
    *,
    worker: str,
    known: Callable[[str], bool] = bool,
    tell: Callable[[DeadLetter], None] = lambda letter: None,  # noqa: ARG005
) -> int:
    """Store ``letters``, all or none, in few round trips; how many of them were new. Raises ``DatabaseUnavailable``.

    ``known`` tells whether a task of that name exists: the others are counted as one. ``tell`` is told those of the
    new ones that no worker has settled.
    """
    # every process takes the rows that it shares with others in one order
    in_order = sorted(letters, key=lambda letter: (letter.job_id or "", letter.id))
    rows = [_row(letter) for letter in in_order]
    if not rows:
        return 0
    with store.begin(timeout=DATABASE_SECONDS) as connection:
        statement = insert(connection.dialect.name, table).values(rows)
        statement = statement.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)
        stored = set(connection.execute(statement).scalars())
        # as stored: what comes back of an id may be shorter than it was
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
    """A line for a job that the broker itself buried, which nobody else can tell of (RabbitMQ)."""
    if DEAD in letter.headers:
        return
    fields = job_fields(ref(letter.headers, letter.queue)) if letter.job_id else {"queue": letter.queue}
    why = letter.failure.message if letter.failure else "by the broker, not by a worker"
    text = f"buried as a dead letter ({letter.reason}): {why}"
    jobs_log.error(Line("job.dead", text, **fields, reason=str(letter.reason), error_message=why))


def _dead_row(letter: DeadLetter) -> dict[str, Any]:
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
