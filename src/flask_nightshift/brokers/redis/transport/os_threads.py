"""Threads and locks of the operating system, also where gevent has put greenlets in their place.

A lease is kept while a job computes and gives no other greenlet a turn, so its renewer is no greenlet. Under
gevent a socket belongs to the thread that opened it: the renewer uses its own connection and no other.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any


def patched() -> bool:
    """Whether gevent has replaced Python's threads in this process."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def lock() -> Any:
    """A lock to be held for a moment, in which no greenlet switches."""
    if not patched():
        return threading.Lock()
    return importlib.import_module("gevent.monkey").get_original("_thread", "allocate_lock")()


def spawn(run: Callable[[], None], name: str) -> Callable[[float], Any]:
    """Run ``run`` in a daemon thread; gives what waits for its end, at most so many seconds."""
    if patched():
        threads = importlib.import_module("gevent.threadpool").ThreadPool(1)
        return threads.spawn(run).wait
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread.join
