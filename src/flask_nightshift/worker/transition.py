"""A next state of a job, as a value: the message to write and the delivered one that it replaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..domain.job import Failure, JobRef
from ..message.envelope import Envelope

FIRST_PAUSE = 1.0
LAST_PAUSE = 30.0
"""Seconds that a job waits after it asked to be returned: doubled from the first to the last."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A next state that replaces the delivered ``message``; ``on_written()`` is called when it is durable.

    ``on_refused(failure)`` is called if the broker refuses its content; by default the message is buried as it is.
    ``message`` is None if it was acknowledged before the attempt. ``envelope`` is None if the message returns to its
    queue as it is.
    """

    message: Any
    envelope: Envelope | None
    queue: str
    due: datetime | None
    job: JobRef
    on_written: Callable[[], None]
    on_refused: Callable[[Failure], None] | None = None


def pause(returns: int) -> float:
    """Seconds that a job waits after it asked to be returned, as it did ``returns`` times before."""
    return float(min(FIRST_PAUSE * 2.0 ** min(returns, 16), LAST_PAUSE))


__all__ = ["Transition", "pause"]
