"""The lock of a unique job, as its message carries it.

The ``nightshift`` header of a unique job has ``unique``: ``{key, until, for, on_duplicate}``. It stays through retries
and replays, so that whoever settles the job knows which lock to release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .headers import DEAD, HISTORY

UNIQUE = "unique"
"""The member of the ``nightshift`` header."""
STARTED, DONE = "started", "done"
SKIP, RAISE, REPLACE = "skip", "raise", "replace"
LONGEST_KEY = 255
_MOST_SECONDS = 2**28
_CLAIM = "claim"


Holders = dict[str, str]
"""Job id → id of the job that holds its lock, for the unique jobs that were not enqueued because of that."""


class Held(Exception):
    """A job was not enqueued by Celery's producer, because the job ``holder`` has its lock."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"the job {holder} holds the lock")
        self.holder = holder


class Lock(NamedTuple):
    """The lock ``key`` of the job ``job_id``, whether or not the job holds it.

    ``until``: the lock ends when the job has ``started``, or is ``done``. ``seconds``: how long it is kept at the most.
    """

    key: str
    job_id: str
    task: str
    until: str = DONE
    seconds: float = 86_400
    on_duplicate: str = SKIP

    def header(self) -> dict[str, Any]:
        """The member ``unique`` of the message's ``nightshift`` header."""
        return {
            "key": self.key,
            "until": self.until,
            "for": self.seconds,
            "on_duplicate": self.on_duplicate,
        }


def lock_of(headers: Any) -> Lock | None:
    """The lock of the job with these message ``headers``; None if it is not unique."""
    past = headers.get(HISTORY) if isinstance(headers, dict) else None
    said = past.get(UNIQUE) if isinstance(past, dict) else None
    if said is None:
        return None
    return _read(headers, said)


def to_claim(headers: Mapping[str, Any]) -> Lock | None:
    """The lock that a job needs before it is enqueued; None if it needs none, or is a dead letter."""
    return None if DEAD in headers else lock_of(headers)


def settled_lock(headers: Any) -> Lock | None:
    """The lock that a job releases when its message gets these ``headers``: that of a dead letter, else None."""
    return lock_of(headers) if headers and DEAD in headers else None


def marked(headers: dict[str, Any]) -> dict[str, Any]:
    """``headers`` of a unique job for Celery's producer, whose channel claims the lock and removes the mark again."""
    past = headers[HISTORY]
    return {**headers, HISTORY: {**past, UNIQUE: {**past[UNIQUE], _CLAIM: True}}}


def unmarked(headers: Any) -> dict[str, Any] | None:
    """``headers`` without the mark of ``marked``; None if they have none."""
    past = headers.get(HISTORY) if isinstance(headers, dict) else None
    said = past.get(UNIQUE) if isinstance(past, dict) else None
    if past is None or not isinstance(said, dict) or _CLAIM not in said:
        return None
    return {**headers, HISTORY: {**past, UNIQUE: {name: said[name] for name in said if name != _CLAIM}}}


def remove_lock(headers: Any) -> None:
    """Have ``headers`` of a unique job name no lock any more, because another job has it now."""
    past = headers.get(HISTORY) if isinstance(headers, dict) else None
    if isinstance(past, dict):
        past.pop(UNIQUE, None)


def _read(headers: Mapping[str, Any], said: Any) -> Lock | None:
    if not isinstance(said, Mapping):
        return None
    key, seconds, job_id = said.get("key"), said.get("for"), headers.get("id")
    if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or not isinstance(job_id, str):
        return None
    if not isinstance(seconds, (int, float)) or not 0 < seconds <= _MOST_SECONDS:
        return None
    until = STARTED if said.get("until") == STARTED else DONE
    word = said.get("on_duplicate")
    return Lock(
        key,
        job_id,
        str(headers.get("task")),
        until,
        seconds,
        word if word in (SKIP, RAISE, REPLACE) else SKIP,
    )


__all__ = [
    "DONE",
    "LONGEST_KEY",
    "RAISE",
    "REPLACE",
    "SKIP",
    "STARTED",
    "UNIQUE",
    "Held",
    "Holders",
    "Lock",
    "lock_of",
    "marked",
    "remove_lock",
    "settled_lock",
    "to_claim",
    "unmarked",
]
