"""Move dead letters from the broker's queue to the table, without losing or duplicating one.

A letter is acknowledged after the commit that stored it. If the acknowledgement is lost, the letter comes again and is
recognised by its id. While the database is down, the letters stay in the queue. A letter that the table refuses for its
content is set aside in the table of refused records (``store/refused.py``) or, if it is too large for that, in another
queue, so it does not block others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from ..background.loop import Backoff, Loop, Work
from ..brokers.base import Broker, PendingDeadLetter
from ..domain.job import DeadLetter
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..message.arguments import Texts, by_name
from ..message.burial import REFUSED_QUEUE
from ..message.envelope import Envelope
from ..store import Store, refused
from ..store.halving import halve
from ..store.ledger import Ended
from .claims import STALE, take_back
from .letters import packed
from .writing import archive

BATCH = 100
MAX_BYTES = 4_000_000
"""Bytes of letters in one batch, which the last one may exceed; a letter takes a few times its size in memory."""
INTERVAL = 5.0
"""Seconds between two looks into the dead-letter queue; this worker's own burials wake the thread earlier."""
GATHER = 0.2
"""Seconds for which a buried letter waits for others, to be stored with them."""
AGAIN = 1.0
"""Seconds before the first new attempt while the database or the broker is down; doubled with each failure."""
BACKOFF_MAX = 30.0
"""Maximum seconds between two attempts while the database or the broker is down."""

logger = logging.getLogger("flask_nightshift.dead_letters")


class Archiver(Work):
    """The thread that archives dead letters, one in each worker; several at once share the work.

    ``worker`` names it in the totals, to which it adds the jobs that the broker itself buried. ``texts`` tells how the
    arguments of a task are shown in the history, if jobs are ``recorded`` there. ``known`` tells whether a task of that
    name exists. ``tell`` is called with each stored letter that the broker itself buried, ``ended`` with the outcomes
    of durable jobs, ``stored`` with all new letters. ``drops`` tells whether a letter of a job that has expired is not
    kept.
    """

    def __init__(
        self,
        broker: Broker,
        store: Store,
        *,
        worker: str = "archiver",
        texts: Callable[[str | None], Texts] = by_name,
        recorded: bool = True,
        known: Callable[[str], bool] = bool,
        tell: Callable[[DeadLetter], None] = lambda letter: None,  # noqa: ARG005
        drops: Callable[[DeadLetter], bool] = lambda letter: False,  # noqa: ARG005
        ended: Callable[[Sequence[Ended]], object] = bool,
        stored: Callable[[Sequence[DeadLetter]], object] = bool,
    ) -> None:
        self._broker = broker
        self._store = store
        self._worker = worker
        self._texts = texts
        self._recorded = recorded
        self._known = known
        self._tell = tell
        self._drops = drops
        self._ended = ended
        self._stored = stored
        self._archived = 0
        self._take_back_at = 0.0
        self._loop = Loop(self, "nightshift-archiver", Backoff(AGAIN, BACKOFF_MAX))

    def run_once(self) -> int:
        """Archive the letters that are in the dead-letter queue now; returns their number.

        Raises ``DatabaseUnavailable`` or ``BrokerUnavailable``; what was not archived stays in the queue.
        """
        total = 0
        while True:
            self._store.ping()  # first, so that a letter that cannot be stored stays where it is
            kept = self._archive(self._broker.take_dead_letters(BATCH, MAX_BYTES))
            for item in kept:
                item.done()
            total += len(kept)
            if not kept:
                return total

    def _take_back(self) -> None:
        """End the claims of replays that died, so that their letters show as waiting."""
        now = time.monotonic()
        if now >= self._take_back_at:
            take_back(self._store)
            self._take_back_at = now + STALE / 2

    def _archive(self, pending: Sequence[PendingDeadLetter]) -> list[PendingDeadLetter]:
        """Store ``pending``; returns those that were stored or set aside."""
        left: set[str] = set()

        def set_aside(item: PendingDeadLetter, why: Exception) -> None:
            if not self._set_aside(item.letter, why):
                left.add(item.letter.id)

        halve(pending, lambda part: self._store_all([item.letter for item in part]), set_aside)
        return [item for item in pending if item.letter.id not in left]

    def _store_all(self, letters: Sequence[DeadLetter]) -> int:
        return archive(
            self._store,
            letters,
            worker=self._worker,
            texts=self._texts,
            recorded=self._recorded,
            known=self._known,
            tell=self._tell,
            drops=self._drops,
            ended=self._ended,
            stored=self._stored,
        )

    def _set_aside(self, letter: DeadLetter, why: Exception) -> bool:
        """Keep a letter that the table refuses in another table, or else in another queue."""
        try:
            refused.set_aside(self._store, refused.LETTER, letter.id, self._worker, why, packed(letter))
            self._stored([letter])
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - no table takes it
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
        except Exception:  # it stays in the dead-letter queue; the others do not wait for it
            logger.exception("dead_letters.letter_refused", extra=extra)
            return False
        logger.error("dead_letters.letter_parked", extra={**extra, "queue": REFUSED_QUEUE})
        return True

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self._loop.start()

    def notify(self) -> None:
        """Archive soon, because a letter has just been buried."""
        if self._loop.alive:  # not in a child of the worker, nor after stop()
            self._loop.wake(after=GATHER)

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after its current batch, and wait up to ``timeout`` seconds for its end."""
        self._loop.stop(timeout)

    def turn(self) -> float:
        """Archive the letters in the queue, and end the claims of replays that died."""
        self._archived = self.run_once()
        self._take_back()
        return INTERVAL

    def failed(self) -> None:
        """The next attempt may succeed."""
        logger.exception("dead_letters.archive_failed")

    def paused(self, why: object) -> None:
        """The database or the broker is away."""
        logger.warning("dead_letters.archive_paused", extra={"error": str(why)})

    def resumed(self) -> None:
        """Both are back."""
        logger.warning("dead_letters.archive_resumed", extra={"archived": self._archived})


__all__ = ["BACKOFF_MAX", "INTERVAL", "Archiver"]
