"""The server's clock: it decides when a tick is due, so that Beats on hosts with different clocks agree.

Redis is asked for its time, else the database. In between, and while neither answers, the time goes on with the clock
of this machine that nobody sets. Until one has answered, the machine's own time counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from ..domain.job import utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable

logger = logging.getLogger("flask_nightshift.beat")

TOO_SLOW = 0.5
"""Seconds after which an answer is too old to correct the clock."""
NOTABLE = timedelta(seconds=2)
"""A difference to the machine's clock that is logged."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class ServerClock:
    """Reads the time from the first of ``servers`` that knows it; each returns None if it cannot tell."""

    def __init__(self, servers: Sequence[Callable[[], datetime | None]]) -> None:
        self._servers = servers
        self._ahead: float | None = None
        """Seconds by which the server's clock is ahead of the steady one."""
        self._told = timedelta()

    def now(self) -> datetime:
        """The time by the server's clock."""
        ahead = self._ahead
        return utcnow() if ahead is None else _EPOCH + timedelta(seconds=_steady() + ahead)

    def look(self) -> None:
        """Ask the servers for the time."""
        for server in self._servers:
            began = _steady()
            try:
                at = server()
            except (BrokerUnavailable, DatabaseUnavailable):
                continue
            if at is None:
                continue
            took = _steady() - began
            if took <= TOO_SLOW or self._ahead is None:
                self._ahead = (at - _EPOCH).total_seconds() - (began + took / 2)
                self._tell()
            return

    def _tell(self) -> None:
        ahead = self.now() - utcnow()
        if abs(ahead - self._told) >= NOTABLE:
            self._told = ahead
            logger.warning("beat.clock_differs", extra={"server_ahead": round(ahead.total_seconds(), 1)})


def _steady() -> float:
    return time.clock_gettime(_STEADY)


__all__ = ["ServerClock"]
