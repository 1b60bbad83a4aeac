"""What a broker can do, as one value: code that depends on it asks here, and never which broker it talks to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The particulars of a broker, as they are with the app's configuration."""

    keeps_delays: bool = True
    """A delayed job waits in the broker; False: in the memory of a worker (kombu's stock Redis transport)."""
    whole_seconds: bool = False
    """A delay is a whole number of seconds."""
    counts_starts: bool = False
    """The broker counts a delivery when its job begins, and says then whether it is still this worker's.

    False: it counts each message that comes back, and only its connection says whose a message is.
    """
    delayed_by_queue: bool = False
    """``depths`` tells how many jobs of each queue are delayed."""
    lists_delayed: bool = False
    """``delayed_jobs`` shows delayed jobs one by one."""
    shows_ready: bool = True
    """``peek`` shows the next ready jobs."""
    knows_age: bool = True
    """``depths`` tells the age of the oldest ready job."""
    fixes_prefetch: bool = False
    """A consumer keeps the prefetch count with which it began."""
    shared: bool = True
    """Other processes reach it; False: its jobs live and end with this process."""
    started_by_us: bool = False
    """``flask jobs broker`` runs its server."""


__all__ = ["Capabilities"]
