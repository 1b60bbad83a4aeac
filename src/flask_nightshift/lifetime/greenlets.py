"""What differs where gevent has replaced threads by greenlets; the only module that knows gevent's names.

A lease is renewed while a job computes and gives no other greenlet a turn, so its renewer is a thread of the operating
system. Under gevent a socket belongs to the thread that opened it: such a thread uses connections of its own.
"""

from __future__ import annotations

import _thread
import importlib
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
MOST_THREADS = 10_000
"""Threads for ``call_in_os_thread``; they are made as they are needed, and wait for the next call."""
_pools: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def patched() -> bool:
    """Whether gevent has replaced Python's threads in this process."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _os_local() -> Any:
    """Attributes for each thread of the operating system."""
    if not patched():
        return _thread._local()  # noqa: SLF001 - ``threading.local`` is the same, unless gevent has replaced it
    return importlib.import_module("gevent.monkey").get_original("_thread", "_local")()


def os_lock() -> Any:
    """A lock to be held for a moment, in which no greenlet switches."""
    if not patched():
        return threading.Lock()
    return importlib.import_module("gevent.monkey").get_original("_thread", "allocate_lock")()


def spawn_os_thread(run: Callable[[], None], name: str) -> Callable[[float], Any]:
    """Run ``run`` in a daemon thread; returns a function that waits for its end, at most the given seconds."""
    if patched():
        threads = importlib.import_module("gevent.threadpool").ThreadPool(1)
        return threads.spawn(run).wait
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread.join


def call_in_os_thread(call: Callable[[], T]) -> T:
    """``call()`` in a thread of the operating system, while other greenlets go on.

    The threads are not those of gevent's hub: it has ten, and resolves host names in them. Here each call gets one.
    """
    hub: Any = importlib.import_module("gevent").get_hub()
    pool = _pools.get(hub)
    if pool is None:
        pool = importlib.import_module("gevent.threadpool").ThreadPool(MOST_THREADS, hub)
        _pools[hub] = pool
    result: T = pool.apply(lambda: _away_from(hub, call))
    return result


def away() -> bool:
    """Whether this is a thread of ``call_in_os_thread``: sockets and threads of the greenlets cannot be used here."""
    return _home() is not None


def at_home(call: Callable[[], object]) -> None:
    """Have a greenlet make ``call`` soon, in the thread that has called ``call_in_os_thread``."""
    home: Any = _home()
    home.loop.run_callback_threadsafe(importlib.import_module("gevent").spawn, call)


def called_at_home(call: Callable[[], T]) -> T:
    """``call()``, made by a greenlet if this thread is ``away()``; the thread waits for it."""
    if not away():
        return call()
    ended = os_lock()
    made: list[T] = []
    raised: list[BaseException] = []
    ended.acquire()

    def there() -> None:
        try:
            made.append(call())
        except BaseException as exc:  # noqa: BLE001 - the waiting thread raises it
            raised.append(exc)
        finally:
            ended.release()

    at_home(there)
    ended.acquire()
    if raised:
        raise raised[0]
    return made[0]


def _home() -> Any:
    """The hub of the thread that has called ``call_in_os_thread``; None elsewhere."""
    return getattr(_places, "home", None) if _pools else None


def _away_from(hub: Any, call: Callable[[], T]) -> T:
    _places.home = hub
    try:
        return call()
    finally:
        _places.home = None


def within(seconds: float | None, call: Callable[[], T], late: Callable[[float], T]) -> T:
    """``call()`` in this greenlet; ``late(seconds)`` if it takes longer. None means no limit."""
    gevent: Any = importlib.import_module("gevent")
    limit = gevent.Timeout(seconds)
    try:
        with limit:
            return call()
    except gevent.Timeout as exc:
        if exc is not limit or seconds is None:  # the caller's own
            raise
        return late(seconds)


_places = _os_local()

__all__ = [
    "at_home", "away", "call_in_os_thread", "called_at_home", "os_lock", "patched", "spawn_os_thread", "within"
]  # fmt: skip
