"""The locks of the unique jobs in a worker's hands: when one begins, and when one is settled.

Where the broker holds the locks, its own steps do that. Where the database holds them (RabbitMQ), each needs a
transaction. ``TogetherLocking`` has a thread make one transaction for all jobs that began or ended together, so neither
the event loop nor other jobs wait for it. A job is acknowledged after the transaction that released its lock: a crash
in between runs the job again and leaves no lock behind.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..background.loop import Backoff, Loop, Work
from ..brokers.locks import Locks
from ..lifetime.forks import when_forked
from ..message.unique import Lock

BACKOFF = Backoff(first=0.1, most=1.0)

logger = logging.getLogger("flask_nightshift.worker.locking")


class Locking:
    """Asks at once, in the thread of the caller."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    def begins_later(self, lock: Lock, begun: Callable[[str], object]) -> bool:  # noqa: ARG002 - a subclass's
        """Whether the job with this ``lock`` begins later: then ``begun`` is called in the event loop, with the id of
        the job that replaced it, or ''.
        """
        return False

    def begin(self, message: Any, lock: Lock) -> str:
        """The job of ``message`` begins now; see ``Locks.begin``."""
        return self._locks.begin(message, lock)

    def release(self, lock: Lock, then: Callable[[], object]) -> None:
        """Release the lock of a job that never runs again, then call ``then``."""
        self._locks.settled(lock)
        then()

    def finish(self) -> None:
        """The worker ends, and its event loop turns no more: do what is left."""


class Owner(Protocol):
    """The part of the worker's consumer that is used here."""

    def call_soon(self, call: Callable[..., Any], *args: Any) -> Any:
        """Have the event loop make the call in its next turn; any thread may call it."""


class _Step(NamedTuple):
    """What waits for the next transaction: a job that begins (``begun``), or one whose lock is released (``then``)."""

    lock: Lock
    begun: Callable[[str], object] | None = None
    then: Callable[[], object] | None = None


class TogetherLocking(Locking, Work):
    """Asks in a thread, for a pool whose jobs begin and end in the event loop of ``owner``."""

    def __init__(self, locks: Locks, owner: Owner) -> None:
        super().__init__(locks)
        self._owner = owner
        self._loop = Loop(self, "nightshift-locks", BACKOFF)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: the steps are the parent's."""
        self._mutex = threading.Lock()
        self._steps: list[_Step] = []
        self._answers: deque[Callable[[], object]] = deque()

    def begins_later(self, lock: Lock, begun: Callable[[str], object]) -> bool:
        """Yes."""
        self._add(_Step(lock, begun=begun))
        return True

    def release(self, lock: Lock, then: Callable[[], object]) -> None:
        """Release it soon."""
        self._add(_Step(lock, then=then))

    def _add(self, step: _Step) -> None:
        with self._mutex:
            first = not self._steps
            self._steps.append(step)
        if first:
            self._loop.wake()

    def turn(self) -> float | None:
        """Make one transaction for all that waits."""
        with self._mutex:
            steps, self._steps = self._steps, []
        if not steps:
            return None
        replaced: dict[str, str] = {}
        try:
            replaced = self._locks.step(
                [step.lock for step in steps if step.begun is not None],
                [step.lock for step in steps if step.begun is None],
            )
        finally:
            for step in steps:
                self._answers.append(_answer(step, replaced.get(step.lock.job_id, "")))
            self._owner.call_soon(self._tell)
        return None

    def failed(self) -> None:
        """The jobs begin all the same, and their locks end by themselves."""
        logger.exception("locks.step_failed")

    def finish(self) -> None:
        """Release the locks of the jobs that have ended, and acknowledge them."""
        self._loop.stop(finish=True)
        self._tell()

    def _tell(self) -> None:
        while self._answers:
            try:
                self._answers.popleft()()
            except Exception:  # what concerns one job must not concern the next
                logger.exception("locks.answer_failed")


def _answer(step: _Step, replaced_by: str) -> Callable[[], object]:
    if step.begun is not None:
        begun = step.begun
        return lambda: begun(replaced_by)
    assert step.then is not None  # noqa: S101
    return step.then


__all__ = ["Locking", "TogetherLocking"]
