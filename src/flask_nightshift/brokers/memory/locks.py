"""The locks of unique jobs, and the jobs that were replaced before they began; ``server.py`` makes each step atomic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ...message.unique import REPLACE, STARTED, Lock
from ..locks import LocksInBroker
from ..values import HeldLock


@dataclass(frozen=True, slots=True)
class _Held:
    """A lock that a job holds; times are seconds since 1970."""

    lock: Lock
    taken: float
    expires: float
    started: float | None = None

    def shown(self) -> HeldLock:
        lock = self.lock
        moments = [
            datetime.fromtimestamp(at, UTC) if at is not None else None
            for at in (self.taken, self.expires, self.started)
        ]
        taken, expires, started = moments
        assert taken is not None and expires is not None  # noqa: S101, PT018
        return HeldLock(lock.key, lock.job_id, lock.task, lock.until, taken, expires, started)


class HeldLocks:
    """The locks of one server, by key; ``now`` is its clock. Not safe to use from several threads."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._held: dict[str, _Held] = {}
        self._replaced: dict[str, str] = {}

    def claim(self, lock: Lock, due: float) -> str:
        """Give the lock to its job; returns '' then, or the id of the job that holds it."""
        now = self._now()
        before = self._valid(lock.key)
        if before is not None and before.lock.job_id != lock.job_id:
            if lock.on_duplicate != REPLACE or before.started is not None:
                return before.lock.job_id
            self._replaced[before.lock.job_id] = lock.job_id
        self._held[lock.key] = _Held(lock, now, max(now, due) + lock.seconds)
        return ""

    def begin(self, lock: Lock) -> str:
        """The job begins: returns '' if it may, else the id of the job that replaced it."""
        if lock.job_id in self._replaced:
            return self._replaced[lock.job_id]
        held = self._valid(lock.key)
        if held is not None and held.lock.job_id == lock.job_id:
            if lock.until == STARTED:
                del self._held[lock.key]
            else:
                self._held[lock.key] = replace(held, started=self._now())
        return ""

    def replaced_by(self, job_id: str) -> str:
        """The job that replaced ``job_id`` before it began; '' if none did."""
        return self._replaced.get(job_id, "")

    def settled(self, lock: Lock | None) -> None:
        """The job, if it is unique, is settled."""
        if lock is None:
            return
        held = self._held.get(lock.key)
        if held is not None and held.lock.job_id == lock.job_id:
            del self._held[lock.key]
        self._replaced.pop(lock.job_id, None)

    def held(self) -> list[HeldLock]:
        """All of them, by key."""
        return [held.shown() for key in sorted(self._held) if (held := self._valid(key)) is not None]

    def release(self, key: str) -> HeldLock | None:
        """Release a lock, whoever holds it."""
        held = self._valid(key)
        self._held.pop(key, None)
        return held.shown() if held is not None else None

    def advance(self, seconds: float) -> None:
        """Shorten the time for which all locks are kept."""
        for key, held in self._held.items():
            self._held[key] = replace(held, expires=held.expires - seconds)

    def _valid(self, key: str) -> _Held | None:
        held = self._held.get(key)
        if held is not None and held.expires <= self._now():
            del self._held[key]
            return None
        return held


class MemoryLocks(LocksInBroker):
    """The locks of ``memory://``; ``ask(question)`` calls ``question(server)``, and translates its errors."""

    def __init__(self, ask: Callable[[Callable[[Any], Any]], Any]) -> None:
        self._ask = ask

    def begin(self, message: Any, lock: Lock) -> str:
        """The job begins."""
        return str(message.channel.server.begin_unique(lock))

    def replaced_by(self, job_id: str) -> str:
        """The job that replaced the unique job ``job_id`` before it began; '' if none did."""
        return str(self._ask(lambda server: server.replaced_by(job_id)))

    def held(self, limit: int, after: str = "") -> list[HeldLock]:
        """Up to ``limit`` locks, by key, after the key ``after``."""
        every: list[HeldLock] = self._ask(lambda server: server.held_locks())
        return [lock for lock in every if lock.key > after][:limit]

    def release(self, key: str) -> HeldLock | None:
        """Release a lock, whoever holds it."""
        found: HeldLock | None = self._ask(lambda server: server.release_lock(key))
        return found


__all__ = ["HeldLocks", "MemoryLocks"]
