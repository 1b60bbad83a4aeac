"""What a broker that is away looks like from Python, turned into one error, in bounded time.

A publish is bounded by two numbers: no single network step takes longer than ``STEP`` seconds (a socket
timeout), and once ``PATIENCE`` seconds have passed no further step is begun. A connection that died while it
was idle is so replaced at once, and a server that is frozen costs one step and no more.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from time import monotonic
from typing import Any

from amqp.exceptions import AMQPError
from kombu.exceptions import LimitExceeded, OperationalError
from redis.exceptions import RedisError

from ..errors import BrokerUnavailable
from ..text.passwords import hide_password
from .causes import cause, in_short

STEP = 2.0
"""Seconds that one network step may take: connecting, a handshake, a command, a confirmation."""
PATIENCE = 0.7
"""Seconds after which a failed step is not tried again; ``STEP + PATIENCE`` is below ``PUBLISH_TIMEOUT``."""

ERRORS: tuple[type[Exception], ...] = (OSError, OperationalError, LimitExceeded, AMQPError, RedisError)
"""What kombu, py-amqp, redis-py and the operating system raise when a broker is down, refuses, or is silent.

Errors of the message itself (it cannot be encoded) are not among them.
"""

RETRY_POLICY: dict[str, Any] = {
    "max_retries": 2,
    "interval_start": 0,
    "interval_step": 0.05,
    "interval_max": 0.1,
}
"""kombu's retries of one publish; ``errback`` ends them when patience is over."""


def unavailable(exc: BaseException, url: str) -> BrokerUnavailable:
    """``exc`` as the error that callers handle: names the broker and the cause, shows no password."""
    meaning, told = cause(exc, url), hide_password(in_short(exc))
    what = f"cannot be used: {meaning}" if meaning else "did not do it in time, or refused"
    return BrokerUnavailable(f"The broker at {hide_password(url)} {what} ({told}).")


_FOR_EVER = float("inf")
# not threading.local: greenlets share that if gevent replaced it later (gunicorn --preload -k gevent)
_current: ContextVar[weakref.ref[patience] | None] = ContextVar("nightshift_patience", default=None)


class patience:  # noqa: N801 - used like a function; contextlib's generators cost more than a publish should
    """Within this block, in this thread or greenlet, a failed network step is tried again for ``seconds`` at most.

    An exception that a signal handler raises (a soft time limit) may keep the end of a block from being noted. A block
    counts only while code is in it, so that later publishes have their full time.
    """

    __slots__ = ("__weakref__", "_outer", "_seconds", "until")

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self._outer: weakref.ref[patience] | None = None
        self.until = _FOR_EVER
        """When it is over, on the monotonic clock."""

    def __enter__(self) -> None:
        self._outer = _current.get()
        self.until = min(_until(), monotonic() + self._seconds)
        _current.set(weakref.ref(self))

    def __exit__(self, *exc: object) -> None:
        _current.set(self._outer)


def _until() -> float:
    reference = _current.get()
    block = reference() if reference is not None else None
    return block.until if block is not None else _FOR_EVER


def is_over() -> bool:
    """Whether the patience of this thread's current ``patience`` block is over; False outside of one."""
    return monotonic() >= _until()


def left(step: float = STEP) -> float:
    """The seconds that the next of several steps may take: ``step`` outside of a ``patience`` block.

    Within one, what keeps all of them together to patience and one ``STEP``; 0 if nothing is left.
    """
    until = _until()
    return step if until == _FOR_EVER else max(0.0, until + STEP - monotonic())


def give_up_when_over(exc: BaseException, _interval: Any) -> None:
    """An ``errback`` for kombu: raises ``exc``, so that no further try is made, when patience is over."""
    if is_over():
        raise exc


RETRY_POLICY["errback"] = give_up_when_over
