"""The start fence: whether a job may begin, where only the broker knows that the connection it came by is gone.

RabbitMQ closes a connection from which two heartbeats are missing, and gives its messages to other workers. A worker
that was frozen for so long (SIGSTOP, a suspended machine) would begin the jobs that wait in it before it reads that the
connection is closed. So after a gap the worker asks the broker first. On Redis the lease decides (``begin_delivery``).
"""

from __future__ import annotations

import math
import time
from typing import Any

ANSWER = 0.2
"""Seconds until a server that has closed the connection has refused what was sent to it."""


class StartFence:
    """Guards the starts of one connection's jobs; ``heartbeat`` is in seconds, 0 where there is none."""

    def __init__(self, heartbeat: float = 0.0) -> None:
        self._longest = (
            heartbeat / 2 or math.inf
        )  # the last frame may be half a heartbeat older than the last pulse
        self._seen = _now()
        self._in_doubt = False

    def pulse(self) -> None:
        """The worker runs; to be called about once a second, by the thread that keeps the connection alive."""
        now = _now()
        self._in_doubt = self._in_doubt or now - self._seen > self._longest
        self._seen = now

    def opens(self, channel: Any) -> bool:
        """Whether a job that came by ``channel`` may begin; asks the broker after a gap between two pulses.

        False if the connection is gone. Takes ``ANSWER`` seconds where it has to ask, else no time.
        """
        connection = channel.connection
        if connection is None:
            return False
        if not self._in_doubt and _now() - self._seen <= self._longest:
            return True
        if not _is_open(connection):
            return False
        self._seen, self._in_doubt = _now(), False
        return True


def _is_open(connection: Any) -> bool:
    """Whether the server has not closed an AMQP connection: what is sent to a closed one fails at the second time."""
    try:
        connection.send_heartbeat()
        time.sleep(ANSWER)
        connection.send_heartbeat()
    except Exception:  # noqa: BLE001 - whatever a broken connection raises
        return False
    return True


def _now() -> float:
    """Seconds that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


__all__ = ["StartFence"]
