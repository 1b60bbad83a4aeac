"""One tick of a schedule entry: a moment at which the entry is due, and which enqueues exactly one job."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import NamedTuple

EARLY = timedelta(seconds=1)
"""How long before its time a tick may be claimed, by the server's clock: clocks are read over a network."""
FAR = timedelta(minutes=65)
"""A last tick further in the future than this was set by a clock that was wrong, and does not count.

A server's clock that was set back by an hour is no reason to run the ticks of that hour twice.
"""


class Tick(NamedTuple):
    """The tick of ``entry`` that is due at ``due``.

    ``after``: for a schedule whose ticks depend on when it last ran, the last tick that was known when ``due`` was
    computed. Such a tick is claimed only if that is still the last one. None: ``due`` is part of a fixed series, and
    the tick is claimed unless it or a later one was claimed before.
    """

    entry: str
    due: datetime
    after: datetime | None = None


class Verdict(enum.Enum):
    """The answer to the claim of a tick."""

    CLAIMED = "claimed"
    TAKEN = "taken"
    """It was claimed before: by another Beat, or by an earlier try of this one, whose answer was lost."""
    EARLY = "early"
    """By the server's clock it is not due yet."""
    SENDING = "sending"
    """Another Beat is about to publish its job. If it dies, the tick is free again in a few seconds."""
    LEFT_OUT = "left out"
    """The entry is paused, or an operator skips this tick."""


class Claim(NamedTuple):
    """The answer to the claim of a tick; ``last`` is the entry's last tick, where the server tells it."""

    verdict: Verdict
    last: datetime | None = None


__all__ = ["EARLY", "FAR", "Claim", "Tick", "Verdict"]
