"""The tombstone of a cancelled job: the order to drop the job wherever a worker meets its message.

It is left where the message cannot be removed cheaply, and goes when the job has ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

KEPT = timedelta(days=30)
"""How long a tombstone lasts, from now or from when its job is due, if no worker meets the job."""
SKEW = timedelta(minutes=1)
"""The difference between the clocks of two machines that is tolerated."""
MOST = 50_000
"""Maximum number of tombstones: each worker holds them in memory."""


class Tombstone(NamedTuple):
    """The job ``job_id`` was cancelled ``at`` that moment, ``by`` somebody, and is dropped until ``expires_at``.

    ``kill``: its child process is killed if the job runs.
    """

    job_id: str
    at: datetime
    expires_at: datetime
    kill: bool = False
    by: str = ""

    def concerns(self, enqueued_at: datetime | None) -> bool:
        """Whether the job enqueued then is meant: an app may give the same id to a later job."""
        return enqueued_at is None or enqueued_at <= self.at + SKEW

    @property
    def why(self) -> str:
        """Who cancelled the job, for people."""
        return f"cancelled by {self.by}" if self.by else "cancelled"


def tombstone(job_id: str, now: datetime, due: datetime | None, *, kill: bool, by: str) -> Tombstone:
    """The tombstone of a job that is cancelled ``now`` and ``due`` then (None: at once)."""
    return Tombstone(job_id, now, max(now, due or now) + KEPT, kill, by)


def latest(found: Iterable[Tombstone]) -> dict[str, Tombstone]:
    """``found`` by job id; a job that was cancelled twice keeps an order to kill it."""
    by_id: dict[str, Tombstone] = {}
    for each in found:
        known = by_id.get(each.job_id)
        by_id[each.job_id] = each if known is None or each.kill or not known.kill else known
    return by_id


__all__ = ["KEPT", "MOST", "Tombstone", "latest", "tombstone"]
