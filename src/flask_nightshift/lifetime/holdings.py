"""What an app holds open: threads, connections, descriptors. They go with it when it is garbage, or are closed before.

A suite of tests makes an app for each test. So nothing that lives on its own (a thread, a receiver of a signal, a
pool of the process) may refer to the app: then the garbage collector finds it, and what it held is closed.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable

logger = logging.getLogger("flask_nightshift.holdings")


class Holdings:
    """What one app holds open, by name. ``close`` of a part must not refer to the app."""

    def __init__(self) -> None:
        self._parts: dict[str, Callable[[], object]] = {}

    def add(self, name: str, close: Callable[[], object]) -> None:
        """Have ``close`` called in the end, before what was added earlier; it may be called more than once."""
        self._parts.pop(name, None)
        self._parts[name] = close

    def close(self) -> None:
        """Close all of them, the latest first; what cannot be closed is logged."""
        for name, close in reversed(list(self._parts.items())):
            try:
                close()
            except Exception as exc:  # noqa: BLE001 - the others are to be closed too
                logger.warning("%s of an app could not be closed: %r", name, exc)

    def go_with(self, owner: object) -> None:
        """Close all of them when ``owner`` is garbage, in a thread: the collector may run anywhere."""
        weakref.finalize(
            owner, _close_in_thread, self
        ).atexit = False  # at the end of the process all of it goes


def _close_in_thread(held: Holdings) -> None:
    # not threading.Thread at once: this very thread may be in the middle of starting one, and hold its lock
    thread = threading.Thread(target=held.close, name="nightshift-closing", daemon=True)
    with contextlib.suppress(RuntimeError):  # the interpreter shuts down
        _thread.start_new_thread(thread.start, ())


__all__ = ["Holdings"]
