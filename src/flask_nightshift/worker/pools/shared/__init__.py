"""The kernel of a pool of processes in which all children take their jobs from one queue. Linux only; no Celery in it.

Read in this order: ``accounts`` (what the parent knows of each job, and the protocol that takes a job back), ``slot``
and ``ring`` (what a child says in shared memory), ``queue`` (how a job travels), ``child`` (its loop), ``pool`` (the
parent).

These rules hold, whatever process is killed or frozen, and whenever:

1. Each job that was submitted is told of exactly once: ``Ended``, ``Returned`` (no child started it), ``Refused`` (the
   system never takes its message) or ``Lost`` (its child died while it ran).
2. A job that was returned is started by no child afterwards.
3. A job whose body has returned is never told of as lost.
4. No job waits behind another one while a child is free.
"""

from __future__ import annotations

from .child import Work
from .events import NO_REPORT, Ended, Event, Lost, Refused, Returned, SoftLimit, Started, Terms
from .pool import Pool
from .ring import Kind
from .signals import SoftLimitReached
from .support import supported

__all__ = [
    "NO_REPORT",
    "Ended",
    "Event",
    "Kind",
    "Lost",
    "Pool",
    "Refused",
    "Returned",
    "SoftLimit",
    "SoftLimitReached",
    "Started",
    "Terms",
    "Work",
    "supported",
]
