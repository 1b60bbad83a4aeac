"""Coroutines that wait for the results of jobs: two threads hear of the results, so no event loop waits for a backend.

``ResultWaits`` asks: it tells the result backend who waits, looks whether the result is there already, and looks again
and again where a backend tells nothing by itself (a database). ``_Hearing`` reads what Redis and RabbitMQ send, and
connects anew if ``Unheard`` finds that it has missed something. Both threads serve all coroutines of an app and end
when none waits. A backend that is away holds up these threads only: the time limit of a wait is kept by its event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from celery import states

from ..background.loop import Backoff, Loop, Work
from ..errors import Unsupported
from ..lifetime import greenlets
from ..lifetime.forks import reset_if_forked, when_forked
from .rpc_results import is_rpc, serialize
from .unheard import Unheard

LINGER = 2.0
"""Seconds for which the threads stay when no coroutine waits any more: the next one may come soon."""
EAR = 1.0
"""Seconds after which a thread that hears nothing looks whether somebody waits still."""
_BACKOFF = Backoff(0.1, 5.0)

logger = logging.getLogger("flask_nightshift.results")


class Wait:
    """One coroutine's wait for the end of one job. Celery's result backends take it for an ``AsyncResult``.

    Made in the thread of the running event loop. ``meta`` gets what the backend tells of the ended job, or an exception
    with which the backend cannot be asked; ``looked`` is done after the first look.
    """

    def __init__(self, result: Any, interval: float) -> None:
        self.result, self.id, self.backend, self.interval = result, result.id, result.backend, interval
        self._loop = asyncio.get_running_loop()
        self.meta: asyncio.Future[Any] = self._loop.create_future()
        self.looked: asyncio.Future[None] = self._loop.create_future()
        self.ended = False
        """Whether it was told how the job ended, or nobody waits any more."""
        self.is_registered = False
        """Whether the backend knows of it."""
        self.due = 0.0

    def tell(self, meta: Any) -> None:
        """The job has ended; or the exception that hides whether it has. Safe in any thread."""
        self.ended = True
        self._call(self.meta, meta)

    def has_looked(self) -> None:
        """The result backend was asked once."""
        self._call(self.looked, None)

    def _call(self, future: asyncio.Future[Any], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(_fulfil, future, value)

    def _maybe_set_cache(self, meta: Any) -> None:
        """As Celery tells an ``AsyncResult``."""
        if meta["status"] in states.READY_STATES and not self.ended:
            self.tell(meta)
            self.unregister()

    def unregister(self) -> None:
        """Have the backend forget it; raises what the backend raises."""
        self.backend.remove_pending_result(self)
        self.is_registered = False

    def _iter_meta(self, **_: Any) -> Iterator[Any]:
        """As Celery asks an ``AsyncResult`` to look."""
        yield self.backend.get_task_meta(self.id)


class ResultWaits(Work):
    """The waits of one app's coroutines. ``make_backend()`` makes its result backend."""

    def __init__(self, make_backend: Callable[[], Any]) -> None:
        self._make_backend = make_backend
        self._asking = Loop(self, "nightshift-results", _BACKOFF, lingers=False)
        self._hearing = _Hearing()
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: connections and coroutines are the parent's."""
        self._backend: Any = None
        self._making = threading.Lock()
        self._begun: deque[Wait] = deque()
        self._given_up: deque[Wait] = deque()
        self._polled: list[Wait] = []
        self._unheard = Unheard()

    @property
    def backend(self) -> Any:
        """The result backend that these waits share. Each thread of an app has one of its own in Celery."""
        reset_if_forked()
        if self._backend is None:
            with self._making:
                if self._backend is None:
                    self._backend = self._made()
        return self._backend

    def _made(self) -> Any:
        made = self._make_backend()
        if is_rpc(made):
            made.oid = str(uuid.uuid4())  # else the name of this thread's reply queue
            serialize(made.result_consumer)
        return made

    def begin(self, result: Any, interval: float) -> Wait:
        """Wait for ``result``, an ``AsyncResult``; ``interval`` is in seconds, for backends that tell nothing."""
        reset_if_forked()
        wait = Wait(result, interval)
        self._begun.append(wait)
        self._wake()
        return wait

    def give_up(self, wait: Wait) -> None:
        """Nobody waits any more."""
        wait.ended = True
        if wait.is_registered:
            self._given_up.append(wait)
            self._wake()

    def close(self) -> None:
        """End the threads and close the connections; a later wait opens them again."""
        self._asking.stop()
        self._hearing.stop()
        backend, self._backend = self._backend, None
        if backend is not None:
            with contextlib.suppress(Exception):
                _close(backend)

    def turn(self) -> float | None:
        """Tell the backend who waits and who does not, and look for results that it does not tell of."""
        worked = bool(self._begun or self._given_up)
        while self._begun:
            self._register(self._begun.popleft())
        while self._given_up:
            self._given_up[0].unregister()
            self._given_up.popleft()
        self._polled = [wait for wait in self._polled if not wait.ended]
        for wait in self._polled:
            if wait.due <= monotonic():
                self._look(wait)
        if self._unheard.look():
            self._hearing.renew()
        if self._polled:
            return max(0.0, min(LINGER, min(wait.due for wait in self._polled) - monotonic()))
        return LINGER if worked or self._unheard else None

    def failed(self) -> None:
        """Log it."""
        logger.exception("results.not_asked")

    def _wake(self) -> None:
        if greenlets.away():
            greenlets.at_home(self._asking.wake)
        else:
            self._asking.wake()

    def _register(self, wait: Wait) -> None:
        if wait.ended:
            return
        try:
            if is_rpc(wait.backend) and wait.backend is not self.backend:
                raise Unsupported(
                    "rpc:// sends a result to the thread that enqueued the job: use adelay() to enqueue the job whose "
                    "result you read with aget(), or get() in that thread"
                )
            if _is_like(wait.backend, self.backend):
                wait.backend = self.backend
            if not getattr(wait.backend, "is_async", False) or wait.backend is not self.backend:
                self._polled.append(wait)
                return
            self._hearing.add(wait)
            if not is_rpc(wait.backend):  # that keeps no result to look at
                self._unheard.add(wait)
        except Exception as exc:  # noqa: BLE001 - the coroutine raises it
            wait.tell(exc)
        wait.has_looked()

    def _look(self, wait: Wait) -> None:
        wait.due = monotonic() + wait.interval
        try:
            meta = wait.backend.get_task_meta(wait.id)
        except Exception as exc:  # noqa: BLE001 - the coroutine raises it
            wait.tell(exc)
        else:
            if meta["status"] in states.READY_STATES:
                wait.tell(meta)
        wait.has_looked()


class _Hearing(Work):
    """Reads what a result backend sends, for all waits that were added, while there are any."""

    def __init__(self) -> None:
        self._loop = Loop(self, "nightshift-results-heard", _BACKOFF, lingers=False)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: connections and coroutines are the parent's."""
        self._waits: set[Wait] = set()
        self._consumer: Any = None
        self._is_deaf = False

    def renew(self) -> None:
        """Connect anew: a result came that was not heard of."""
        self._is_deaf = True

    def add(self, wait: Wait) -> None:
        """Tell the backend of ``wait``, and look whether its job has ended already. Raises what the backend raises."""
        backend, wait.is_registered = wait.backend, True
        backend.add_pending_result(wait, start_drainer=False)
        self._consumer = backend.result_consumer
        self._consumer.on_wait_for_pending(wait)
        if not wait.ended:  # rpc:// keeps what has come before it knew of the wait
            backend.add_pending_result(wait, start_drainer=False)
        known = wait.result._cache  # noqa: SLF001 - rpc:// tells a group's member itself
        if known is not None and not wait.ended:
            wait.tell(known)
        if wait.ended:
            wait.unregister()
            return
        self._waits.add(wait)
        self._loop.wake()

    def stop(self) -> None:
        """End the thread."""
        self._loop.stop()

    def turn(self) -> float | None:
        """Hear for a second."""
        self._waits = waits = {wait for wait in list(self._waits) if not wait.ended}
        if not waits:
            return None
        try:
            if self._is_deaf and hasattr(self._consumer, "_reconnect"):
                logger.warning("results.silent")
                self._consumer._reconnect()  # noqa: SLF001 - Celery calls it after an error, and here is none
            self._is_deaf = False
            self._consumer.drain_events(timeout=EAR)
        except TimeoutError:
            pass
        except OSError as exc:
            logger.warning("results.connection_lost", extra={"why": repr(exc)})
            return EAR
        except Exception as exc:  # noqa: BLE001 - the coroutines raise it
            for wait in waits:
                if not wait.ended:
                    wait.tell(exc)
        return 0.0

    def failed(self) -> None:
        """Log it."""
        logger.exception("results.not_heard")


def _is_like(backend: Any, ours: Any) -> bool:
    return type(backend) is type(ours) and getattr(backend, "url", None) == getattr(ours, "url", None)


def _close(backend: Any) -> None:
    consumer = getattr(backend, "result_consumer", None)
    if consumer is not None:
        consumer.stop()
    pool = getattr(vars(backend).get("client"), "connection_pool", None)
    if pool is not None:
        pool.disconnect()


def _fulfil(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


__all__ = ["ResultWaits", "Wait"]
