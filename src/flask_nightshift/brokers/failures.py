"""Translates the errors of an unavailable broker into ``BrokerUnavailable``, and limits the time of a call.

Two numbers limit the time of a publish. No network step takes longer than ``STEP`` seconds (a socket timeout), and no
failed step is repeated after ``PATIENCE`` seconds. So a connection that died while idle is replaced at once, and a
frozen server costs only one step.
"""

from __future__ import annotations

import sys
import weakref
from contextvars import ContextVar
from time import monotonic
from typing import Any

from amqp.exceptions import AMQPError
from kombu.exceptions import LimitExceeded, OperationalError

from ..errors import BrokerUnavailable
from ..text.passwords import hide_password
from .causes import cause, short_text

STEP = 2.0
"""The time limit in seconds of one network step: connecting, a handshake, a command, a confirmation."""
PATIENCE = 0.7
"""Seconds after which a failed step is not repeated; ``STEP + PATIENCE`` is below ``PUBLISH_TIMEOUT``."""

_ERRORS: tuple[type[Exception], ...] = (OSError, OperationalError, LimitExceeded, AMQPError)

RETRY_POLICY: dict[str, Any] = {
    "max_retries": 2,
    "interval_start": 0,
    "interval_step": 0.05,
    "interval_max": 0.1,
}
"""kombu's retries of one publish; ``errback`` ends them when patience is over."""


def errors() -> tuple[type[Exception], ...]:
    """The exceptions of kombu, py-amqp, redis-py and the system for a broker that is down, refuses or is silent.

    They do not include errors of the message itself (it cannot be encoded). Only a process that has imported redis-py
    can see its errors: with RabbitMQ a process does not import it, and saves 10 MiB.
    """
    redis = sys.modules.get("redis.exceptions")
    return _ERRORS if redis is None else (*_ERRORS, redis.RedisError)


def unavailable(exc: BaseException, url: str) -> BrokerUnavailable:
    """The ``BrokerUnavailable`` for ``exc``; it names the broker and the cause, and shows no password."""
    meaning, told = cause(exc, url), hide_password(short_text(exc))
    what = f"cannot be used: {meaning}" if meaning else "did not answer in time, or refused the command"
    return BrokerUnavailable(f"The broker at {hide_password(url)} {what} ({told}).")


_FOR_EVER = float("inf")
# not threading.local: greenlets would share one that was created before gevent's patch (gunicorn --preload -k gevent)
_current: ContextVar[weakref.ref[patience] | None] = ContextVar("nightshift_patience", default=None)


class patience:  # noqa: N801 - used like a function; contextlib's generators would slow down each publish
    """Within this block, in this thread or greenlet, a failed network step is repeated for at most ``seconds``.

    An exception from a signal handler (a soft time limit) may skip ``__exit__``. The context holds only a weak
    reference to the block, so an abandoned one does not limit later publishes.
    """

    __slots__ = ("__weakref__", "_outer", "_seconds", "until")

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self._outer: weakref.ref[patience] | None = None
        self.until = _FOR_EVER
        """The end of the patience, on the monotonic clock."""

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
    """The seconds that the next of several steps may take; ``step`` outside of a ``patience`` block.

    Within one, it is the rest of the patience plus one ``STEP``, so all steps together keep that limit; 0 if it passed.
    """
    until = _until()
    return step if until == _FOR_EVER else max(0.0, until + STEP - monotonic())


def give_up_when_over(exc: BaseException, _interval: Any) -> None:
    """An ``errback`` for kombu: when patience is over, it raises ``exc``, which ends the retries."""
    if is_over():
        raise exc


RETRY_POLICY["errback"] = give_up_when_over
