"""The thread that keeps one consumer's lease, on a connection of its own.

It renews the lease, sends acknowledgements that no claim picked up, returns what a blocked event loop cannot deliver,
reclaims what dead consumers had, and looks after a detached lease. A thread, so that a busy ``solo`` worker keeps its
lease too. Its connection is watched: that it ends is how other consumers learn that this process died, so one that was
cut is replaced at once.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from kombu.utils.eventio import ERR, READ, poll
from redis import Redis
from redis.exceptions import ResponseError

from ....lifetime import greenlets
from ....text.lines import Line
from ...causes import refusal
from . import reclaim, scripts
from .lease_protocol import Renewable

logger = logging.getLogger("flask_nightshift.transport")

ACK_LINGER = 0.01
"""Seconds for which an acknowledgement waits for others to travel with, in one claim."""
NO_CLAIM = 2 * ACK_LINGER
"""Seconds after which it is sent without a claim, because the consumer is busy or waits at the doorbell."""
PULSE = 1.0
"""Seconds between two signs of life, with each of which it looks for jobs that nobody rang for. Less where a renewal is
due sooner, or where the server closes connections that say nothing for so long (its ``timeout``).
"""
RECONNECT_PAUSE = 0.25
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""One that also counts the time for which the machine slept, where there is one."""
MARGIN = 0.5
"""Seconds by which a lease is taken to end before its deadline; a tenth of it if that is less."""
COLLECTIONS = 2
"""Times that the garbage collector is run for a detached lease, to find what nobody refers to."""


class LeaseRenewer:
    """Renews ``lease``; ``start()`` registers it."""

    def __init__(self, lease: Renewable) -> None:
        self._lease = lease
        self._client: Any = None
        self._join: Callable[[float], Any] | None = None
        self._ident: int | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._awake = self._armed = self._minds = False
        self._stopped = False
        self._settle = False
        self._collections = COLLECTIONS
        self._renewed = 0.0
        self._every = PULSE
        self._named_as: tuple[Any, int | str] = (None, "")
        self._renew_at = self._reclaim_at = 0.0
        self._confirm_at = math.inf
        self._in_trouble = False
        self._ring_at = math.inf

    # asked by others
    def start(self) -> None:
        """Register the lease, then run."""
        try:
            self._client = Redis(connection_pool=self._lease.pool, single_connection_client=True)
            self._register()
            self._reclaim_at = self._renewed + reclaim.patience(self._client)
        except BaseException:
            self._close()
            raise
        if greenlets.patched():  # the thread opens a connection of its own, and names it at once
            self._client.connection.disconnect()
            self._renew_at = 0.0
        self._join = greenlets.spawn_os_thread(self._run, f"nightshift-lease-{self._lease.id}")

    def stop(self) -> None:
        """End the thread, after what it is just doing."""
        self._stopped = True
        self.wake()
        if self._join is not None and self._ident != threading.get_ident():
            self._join(2)

    def wake(self) -> None:
        """Look again for something to do."""
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):
                self._wake_in.send(b"\0")

    def nudge(self) -> None:
        """An acknowledgement waits; nothing to do if the thread looks again in a moment anyway."""
        if not self._armed:
            self.wake()

    def mind_buffer(self) -> None:
        """Messages wait in the buffer: see to it that they are returned if they wait too long."""
        if not self._minds:
            self.wake()

    def ring_at(self, moment: float) -> None:
        """Wake the consumer, and no other, at ``moment`` (monotonic): a delayed message is due then, and the server's
        own timeouts come up to 100 ms late.
        """
        self._ring_at = _now() + moment - time.monotonic()
        self.wake()

    def check_soon(self) -> None:
        """Renew now: there is doubt whether the lease is still ours."""
        self._renew_at = 0.0
        self.wake()

    def settle(self) -> None:
        """Return what a detached lease no longer holds."""
        self._settle = True
        self.wake()

    def overdue(self) -> bool:
        """Whether the lease may have been taken, because it was not renewed in time."""
        return _now() - self._renewed > self._lease.options.lease_seconds

    @property
    def kept_until(self) -> float:
        """When the lease runs out, if it is not renewed again; a little earlier, because clocks differ."""
        seconds = self._lease.options.lease_seconds
        return self._renewed + seconds - min(MARGIN, seconds / 10)

    def forked(self) -> None:
        """In a child: close what belongs to the parent."""
        self._stopped = self._awake = True
        self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.connection.disconnect()
        self._wake_in.close()
        self._wake_out.close()

    # the thread
    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            while not self._stopped:
                try:
                    self._turn()
                except Exception as exc:  # noqa: BLE001 - without this thread the lease runs out
                    self._trouble(exc)
        finally:
            self._close()

    def _turn(self) -> None:
        self._wait()
        if self._stopped:
            return
        now = _now()
        reclaiming = now >= (self._reclaim_at if now >= self._renew_at else self._confirm_at)
        late, registered = 0, dict[str, str]()
        if now >= self._renew_at or reclaiming:
            late, registered = self._pulse(others=reclaiming)
            # not if that was the end of an outage: the others are just coming back
            reclaiming = reclaiming and now >= min(self._reclaim_at, self._confirm_at)
        if self._lease.lost:
            self._stopped = True
            return
        if now >= self._ring_at:
            self._ring_at = math.inf
            scripts.RING.run(self._client, [self._lease.wake], [])
        if (left := self._buffer_due_in()) is not None and left <= 0:
            self._lease.return_buffered(self._client)
        if self._settle or self._lease.detached:
            self._look_after_detached()
        elif (self._lease.acks.age() or 0.0) >= NO_CLAIM:
            self._lease.flush(self._client)
            self._lease.on_change()
        if reclaiming and not self._stopped:
            missing = reclaim.reclaim(
                self._client, self._lease.id, self._lease.keys, self._lease.options, late, registered
            )
            crowded = len(registered) > reclaim.CROWD
            spread = random.uniform(0.8, 1.2) if crowded else 1.0  # noqa: S311
            self._reclaim_at = now + spread * reclaim.interval(len(registered))
            self._confirm_at = now + reclaim.GRACE + 0.05 if missing else math.inf

    def _register(self) -> None:
        client_id = self._introduce()
        asked = _now()  # the server puts the deadline off later than that, however long its answer takes
        self._lease.renew(self._client, client_id, register=True)
        self._kept(asked)

    def _pulse(self, *, others: bool) -> tuple[int, dict[str, str]]:
        client_id = self._introduce()
        asked = _now()
        seen = self._lease.pulse(self._client, client_id, others=others)
        self._kept(asked)
        return seen

    def _kept(self, asked: float) -> None:
        self._renewed, self._renew_at = asked, asked + self._every
        if self._client.connection._sock is not self._named_as[0]:  # noqa: SLF001 - it follows its slot to another node
            self._note_outage()
        if self._in_trouble:
            self._in_trouble = False
            self._note_outage()
            logger.info(Line("lease.kept_again", worker=self._lease.id))

    def _introduce(self) -> int | str:
        """Connect where need be, and see who the server takes us for; '' where we are not allowed to ask."""
        connection = self._client.connection
        connection.connect()  # where Sentinel says; a command would go where it went before
        if connection._sock is not self._named_as[0]:  # noqa: SLF001
            if self._named_as[0] is not None:  # the others are just connecting anew, too
                self._note_outage()
            self._named_as = connection._sock, self._ask("client_id") or ""  # noqa: SLF001
            answer = self._ask("config_get", "timeout") or {}
            timeout = float(answer.get("timeout") or answer.get(b"timeout") or 0)
            self._every = min(PULSE, self._lease.options.lease_renew_seconds, (timeout or math.inf) / 2)
        client_id: int | str = self._named_as[1]
        return client_id

    def _ask(self, command: str, *words: str) -> Any:
        try:
            return getattr(self._client, command)(*words)
        except ResponseError:  # not allowed to
            return None

    def _note_outage(self) -> None:
        reclaim.note_outage()
        self._reclaim_at, self._confirm_at = _now() + reclaim.AFTER_OUTAGE, math.inf

    def _look_after_detached(self) -> None:
        if not self._lease.detached:
            return
        if self._collections and not self._settle:
            self._collections -= 1
            gc.collect()  # a job that was dropped unstarted may be part of a cycle
        self._settle = False
        if not self._lease.settle(self._client):
            self._stopped = True

    def _wait(self) -> None:
        """Until there is something to do; a connection that ended is replaced by the renewal that follows."""
        timeout = self._seconds()
        sock = self._client.connection._sock  # noqa: SLF001
        if timeout <= 0 or sock is None:
            self._renew_at = self._renew_at if sock is not None else 0.0
            return
        poller = poll()
        try:
            poller.register(self._wake_out, READ)
            poller.register(sock, READ | ERR)
            ready = {fd for fd, _ in poller.poll(timeout) or ()}
        finally:
            poller.close()
        if self._wake_out.fileno() in ready:
            with contextlib.suppress(OSError):
                self._wake_out.recv(4096)
            self._awake = False
        if sock.fileno() in ready:
            self._client.connection.disconnect()
            self._note_outage()
            self._renew_at = 0.0

    def _seconds(self) -> float:
        if self._settle:
            return 0.0
        until = min(self._renew_at, self._confirm_at, self._ring_at) - _now()
        self._armed, left = False, self._buffer_due_in()
        self._minds = left is not None
        if left is not None:
            until = min(until, left)
        age = self._lease.acks.age()
        if age is None:
            return until
        self._armed = True
        return min(until, NO_CLAIM - age)

    def _buffer_due_in(self) -> float | None:
        buffer = self._lease.buffer
        return buffer.due_in() if buffer is not None else None

    def _trouble(self, exc: Exception) -> None:
        if not self._in_trouble:
            why = refusal(exc) or str(exc)
            logger.warning(Line("lease.not_kept", why, worker=self._lease.id, why=why))
        self._in_trouble = True
        self._client.connection.disconnect()
        self._renew_at = 0.0
        time.sleep(RECONNECT_PAUSE)


def _now() -> float:
    return time.clock_gettime(CLOCK)
