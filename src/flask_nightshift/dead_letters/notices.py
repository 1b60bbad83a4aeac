"""Tells the functions of ``jobs.on_dead()`` of each new dead letter, after it is stored, from a thread of its own.

So a function that is slow, hangs or raises holds up no settlement and no archiver, and loses no letter. What is lost is
the notice: of letters beyond ``MOST`` that wait, and of those that were not told when the process ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..background.loop import Backoff, Loop, Work
from ..domain.job import DeadLetter
from ..domain.notice import DeadLetterNotice
from ..message.headers import attempts, retries

MOST = 1000
"""Letters that may wait to be told of."""
Receiver = Callable[[DeadLetterNotice], object]
Link = Callable[[str], str | None]
"""The URL of the page of the letter with that id."""

logger = logging.getLogger("flask_nightshift.dead_letters")


class Notices(Work):
    """The notices of one app, to ``receivers``, each called within ``context()``, an app context."""

    def __init__(
        self, receivers: Sequence[Receiver], link: Link, context: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        self._receivers = receivers
        self._link = link
        self._context = context
        self._waiting: deque[DeadLetter] = deque()
        self._loop = Loop(self, "nightshift-on-dead", Backoff(1.0, 1.0))

    def tell(self, letters: Sequence[DeadLetter]) -> None:
        """Have the functions called soon, once for each of ``letters``, which are stored."""
        if not self._receivers or not letters:
            return
        free = MOST - len(self._waiting)
        self._waiting.extend(letters[: max(0, free)])
        if (missed := len(letters) - max(0, free)) > 0:
            why = f"the functions of on_dead() are slower than jobs die: {MOST} notices wait"
            logger.error("dead_letters.notices_dropped", extra={"letters": missed, "why": why})
        self._loop.wake()

    def tell_now(self, letters: Sequence[DeadLetter]) -> None:
        """Call the functions in this thread."""
        for letter in letters:
            self._call(letter)

    def turn(self) -> float | None:
        """Tell of one letter."""
        if self._waiting:
            self._call(self._waiting.popleft())
        return 0.0 if self._waiting else None

    def failed(self) -> None:
        """The next letter may be told."""
        logger.exception("dead_letters.on_dead_failed")

    def stop(self, timeout: float = 5.0) -> None:
        """Tell of the letters that wait, for up to ``timeout`` seconds, and end the thread."""
        self._loop.stop(timeout, finish=bool(self._waiting))
        if self._waiting:
            why = "the process ends before the functions of on_dead() have returned"
            logger.error("dead_letters.notices_dropped", extra={"letters": len(self._waiting), "why": why})
            self._waiting.clear()

    def _call(self, letter: DeadLetter) -> None:
        notice = notice_of(letter, self._link(letter.id))
        for receiver in tuple(self._receivers):
            try:
                with self._context():
                    receiver(notice)
            except Exception:
                name = getattr(receiver, "__qualname__", repr(receiver))
                extra = {"letter_id": letter.id, "job_id": letter.job_id, "function": name}
                logger.exception("dead_letters.on_dead_failed", extra=extra)


def notice_of(letter: DeadLetter, url: str | None) -> DeadLetterNotice:
    """What is told of ``letter``."""
    failure, told = letter.failure, len(attempts(letter.headers))
    return DeadLetterNotice(
        letter.id,
        letter.job_id,
        letter.task,
        letter.queue,
        letter.reason,
        failure.error if failure else "",
        failure.message if failure else "",
        max(told, retries(letter.headers) + 1) if told else 0,  # the message carries the last ten
        letter.at,
        letter.worker,
        url,
    )


__all__ = ["Link", "Notices", "Receiver", "notice_of"]
