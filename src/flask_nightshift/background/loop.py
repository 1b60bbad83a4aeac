"""A thread that repeats some work, survives its errors, and slows down during an outage.

The thread starts with the first ``wake()`` or ``start()`` in a process, also in a forked child. An outage is reported
once when it begins and once when it ends. While a turn is due, the loop keeps its work alive. While it only waits to be
woken, it holds the work by a weak reference, and the thread ends when the work is garbage.
"""

from __future__ import annotations

import contextlib
import enum
import math
import random
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..lifetime.forks import reset_if_forked, when_forked
from ..lifetime.holdings import call_in_a_thread

OUTAGES = (DatabaseUnavailable, BrokerUnavailable)


class Work:
    """What a loop repeats. Only ``turn`` and ``failed`` have to be overridden."""

    def turn(self) -> float | None:
        """Do what is due; returns the seconds until the next turn, or None to wait for ``wake()``.

        An error is survived: one of ``OUTAGES`` counts as an outage, ``failed`` hears of any other.
        """
        raise NotImplementedError

    def failed(self) -> None:
        """Log the exception that is being handled, which ``turn`` raised and which is no outage."""
        raise NotImplementedError

    def paused(self, why: object) -> None:
        """Log that an outage began."""

    def resumed(self) -> None:
        """Log that the outage is over."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait after a failed turn: ``first`` seconds, doubled with each further failure up to ``most`` seconds."""

    first: float
    most: float

    def seconds(self, failures: int, rng: Callable[[], float] = random.random) -> float:
        """The wait after that many failures in a row; jitter takes off up to half of it. ``rng()`` is in [0, 1)."""
        ceiling = min(self.most, self.first * 2.0 ** min(failures - 1, 64))
        return ceiling * (1 - rng() / 2)


class _Stop(enum.Enum):
    AT_ONCE = enum.auto()
    WHEN_DONE = enum.auto()


class Loop:
    """The thread ``name``, which calls ``work.turn()`` again and again.

    With ``lingers=False`` the thread ends when no turn is due, and the next ``wake()`` starts another one.
    """

    changed: threading.Condition
    """Guards the loop's state and, if the work likes, the work's; notified after each turn."""
    away: bool
    """Whether there is an outage now."""

    def __init__(self, work: Work, name: str, backoff: Backoff, *, lingers: bool = True) -> None:
        self._work = weakref.ref(work)
        self._name = name
        self._backoff = backoff
        self._lingers = lingers
        self.after_fork()
        when_forked(self)
        weakref.finalize(work, _abandon, self).atexit = False

    def after_fork(self) -> None:
        """In a child process: no thread runs, and no lock is held."""
        self.changed = threading.Condition()
        self.away = False
        self._thread: threading.Thread | None = None
        self._kept: Work | None = None
        self._stop: _Stop | None = None
        self._failures = 0
        self._hurried = False
        self._wanted = math.inf  # moments on the monotonic clock
        self._rests_until = 0.0
        self._backs_off_until = 0.0

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether the loop was told to stop: a turn that has more work returns 0, to have another turn."""
        return self._stop is not None

    def start(self) -> None:
        """Start the thread, unless it runs; its first turn comes at once."""
        reset_if_forked()
        with self.changed:
            self._kept = self._work()
            if self.alive:
                return
            self._stop, self._rests_until = None, 0.0
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                thread.start()
                self._thread = thread

    def wake(self, after: float = 0.0) -> None:
        """Have a turn ``after`` that many seconds; during an outage, not before the next try."""
        reset_if_forked()
        with self.changed:
            self._wanted = min(self._wanted, monotonic() + after)
            self.start()
            self.changed.notify_all()

    def hurry(self) -> None:
        """Have a turn now, also during an outage."""
        reset_if_forked()
        with self.changed:
            self._hurried = True
            self.start()
            self.changed.notify_all()

    def stop(self, timeout: float = 5.0, *, finish: bool = False) -> None:
        """End the thread, and wait up to ``timeout`` seconds for its end.

        With ``finish`` it takes another turn first, and further ones while they are due, until one fails.
        """
        reset_if_forked()
        with self.changed:
            self._stop = _Stop.WHEN_DONE if finish else _Stop.AT_ONCE
            self._hurried = finish
            self.changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def outage(self, why: object) -> None:
        """Note an outage, which the work reports if it has just begun."""
        with self.changed:
            begins, self.away = not self.away, True
        if begins and (work := self._work()) is not None:
            work.paused(why)

    def _run(self) -> None:
        mine = self.changed  # a greenlet survives in a forked child, where the loop was reset
        while self._wait(mine):
            self._take_turn(mine)

    def _wait(self, mine: threading.Condition) -> bool:
        """Wait until the next turn is due; False if the thread must end."""
        with mine:
            while mine is self.changed:
                seconds = self._due() - monotonic()
                if seconds == math.inf:
                    self._kept = None
                if self._must_end(seconds):
                    self._thread = self._kept = None
                    break
                if seconds <= 0:
                    self._hurried, self._wanted = False, math.inf
                    return True
                mine.wait(None if seconds == math.inf else seconds)
            return False

    def _due(self) -> float:
        if self._hurried:
            return 0.0
        return max(self._backs_off_until, min(self._wanted, self._rests_until))

    def _must_end(self, seconds: float) -> bool:
        """Whether to end, if the next turn is due in ``seconds``."""
        if self._stop is None:
            return not self._lingers and seconds == math.inf
        return self._stop is _Stop.AT_ONCE or seconds > 0

    def _take_turn(self, mine: threading.Condition) -> None:
        work = self._work()
        if work is None:
            self._stop = _Stop.AT_ONCE
            return
        try:
            rest = work.turn()
        except OUTAGES as exc:
            if mine is self.changed:
                self.outage(exc)
            self._after_failure(mine)
        except Exception:  # noqa: BLE001 - the work logs it
            work.failed()
            self._after_failure(mine)
        else:
            self._after_success(mine, work, math.inf if rest is None else rest)

    def _after_failure(self, mine: threading.Condition) -> None:
        with mine:
            if mine is not self.changed:
                return
            self._failures += 1
            self._backs_off_until = monotonic() + self._backoff.seconds(self._failures)
            self._rests_until = 0.0
            if self._stop is not None:
                self._stop = _Stop.AT_ONCE
            mine.notify_all()

    def _after_success(self, mine: threading.Condition, work: Work, rest: float) -> None:
        with mine:
            if mine is not self.changed:
                return
            ends, self.away = self.away, False
            self._failures, self._backs_off_until = 0, 0.0
            self._rests_until = monotonic() + rest
            mine.notify_all()
        if ends:
            work.resumed()


def _abandon(loop: Loop) -> None:
    if loop.alive:
        call_in_a_thread(loop.stop)


__all__ = ["Backoff", "Loop", "Work"]
