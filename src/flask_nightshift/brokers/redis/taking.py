"""Takes jobs out of queues, and tells those that are taken already if the server goes away meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...errors import BrokerUnavailable
from ..values import DelayedJob, TakenInPart
from .queues import Queues

Ask = Callable[[Callable[[Queues], Any]], Any]
"""Calls a question with the queues, and turns the client's errors into ``BrokerUnavailable``."""


def take_each(ask: Ask, question: Callable[[Queues], Iterator[DelayedJob]]) -> list[DelayedJob]:
    """The jobs that ``question`` takes, one after another; raises ``TakenInPart`` with those before an outage."""
    taken: list[DelayedJob] = []
    try:
        ask(lambda q: taken.extend(question(q)))
    except BrokerUnavailable as exc:
        if taken:
            raise TakenInPart(exc, taken) from exc
        raise
    return taken


__all__ = ["Ask", "take_each"]
