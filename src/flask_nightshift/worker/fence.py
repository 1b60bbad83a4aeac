"""The start fence: on RabbitMQ, whether the connection that delivered a job is still open, so that the job may begin.

RabbitMQ closes a connection after two missing heartbeats and delivers its messages to other workers. A worker that was
frozen for so long (SIGSTOP, a suspended machine) would begin its waiting jobs before it reads that the connection is
closed. So after a gap the worker asks the broker first. On Redis the lease decides (``begin_delivery``).
"""

from __future__ import annotations

import math
import time
from typing import Any

ANSWER = 0.2
"""Seconds until a server that closed the connection has refused a frame sent to it."""


class StartFence:
    """Guards the starts of one connection's jobs; ``heartbeat`` in seconds, 0 for none."""

    def __init__(self, heartbeat: float = 0.0) -> None:
        # the last frame may be half a heartbeat older than the last pulse
        self._longest = heartbeat / 2 or math.inf
        self._heartbeat = heartbeat or math.inf
        self._seen = _now()
        self._in_doubt = False

    def pulse(self) -> None:
        """Note that the worker runs. The thread that keeps the connection alive calls it about once a second."""
        now = _now()
        self._in_doubt = self._in_doubt or now - self._seen > self._longest
        self._seen = now

    def until(self, channel: Any) -> float:
        """Until when jobs from ``channel`` may begin, even if this process is frozen from now on; 0 if not at all."""
        return self._seen + self._heartbeat if self.opens(channel) else 0.0

    def opens(self, channel: Any) -> bool:
        """Whether a job from ``channel`` may begin; False if the connection is closed.

        After a gap between two pulses it asks the broker, which takes ``ANSWER`` seconds.
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
    """Whether an AMQP connection is open: on one that the server closed, the second send fails."""
    try:
        connection.send_heartbeat()
        time.sleep(ANSWER)
        connection.send_heartbeat()
    except Exception:  # noqa: BLE001 - a broken connection may raise anything
        return False
    return True


def _now() -> float:
    """Seconds on a clock that also counts while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


__all__ = ["StartFence"]
