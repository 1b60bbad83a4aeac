"""The features of a broker as one value; other code checks these, never the kind of broker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The features of a broker under the app's configuration."""

    keeps_delays: bool = True
    """Delayed jobs wait in the broker; False: in the memory of a worker (kombu's stock Redis transport)."""
    whole_seconds: bool = False
    """A delay is a whole number of seconds."""
    counts_starts: bool = False
    """The broker counts a delivery when its job begins, and reports if another consumer has taken the message over.

    False: it counts each message that comes back, and a message belongs to the connection that received it.
    """
    delayed_by_queue: bool = False
    """``depths`` gives the number of delayed jobs of each queue."""
    lists_delayed: bool = False
    """``delayed_jobs`` shows delayed jobs one by one."""
    knows_age: bool = True
    """``depths`` gives the age of the oldest ready job."""
    fixes_prefetch: bool = False
    """The prefetch count of a consumer cannot change."""
    most_ahead: int = 0
    """How many jobs a worker may hold by looking ahead, and return uncounted; 0: it cannot return them so.

    A worker with many children may hold more.
    """
    refuses_copies: bool = False
    """``publish_many`` recognises a second publish from an outbox; False: a worker has to, when the job arrives."""
    holds_locks: bool = False
    """The locks of unique jobs are claimed when the broker takes a job, and released when it settles the job."""
    skips_paused: bool = False
    """The broker gives out no job of a paused queue; False: a worker has to end its consumer of the queue."""
    shared: bool = True
    """Other processes can reach the broker; False: its jobs exist only in this process."""
    started_by_us: bool = False
    """``flask jobs broker`` runs the broker's server."""


__all__ = ["Capabilities"]
