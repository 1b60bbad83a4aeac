"""The threads, connections and descriptors of an app, closed on request or when the app is collected as garbage.

A test suite creates an app for each test. So nothing that lives on its own (a thread, a signal receiver, a pool of the
process) may refer to the app. Then the garbage collector finds the app, and its holdings are closed.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("flask_nightshift.holdings")


class Holdings:
    """The open parts of one app, by name. ``close`` of a part must not refer to the app."""

    def __init__(self) -> None:
        self._parts: dict[str, Callable[[], object]] = {}
        self._finalizer: weakref.finalize[..., Any] | None = None

    def add(self, name: str, close: Callable[[], object]) -> None:
        """Register ``close`` to be called at the end, before earlier parts; it may be called more than once."""
        self._parts.pop(name, None)
        self._parts[name] = close

    def close(self) -> None:
        """Close all parts, the latest first; log a part that cannot be closed."""
        for name, close in reversed(list(self._parts.items())):
            try:
                close()
            except Exception as exc:  # noqa: BLE001 - the others are to be closed too
                logger.warning("holdings.not_closed", extra={"part": name, "why": repr(exc)})

    def close_with(self, owner: object) -> None:
        """Close all parts when ``owner`` is garbage, but not at the end of the process, which closes everything."""
        self._finalizer = weakref.finalize(owner, call_in_a_thread, self.close)
        self._finalizer.atexit = False

    def outlive(self) -> None:
        """Forget the owner: whoever made the parts closes them."""
        if self._finalizer is not None:
            self._finalizer.detach()


def call_in_a_thread(close: Callable[[], object]) -> None:
    """Call ``close`` in a thread, for a finalizer: the garbage collector may run anywhere."""
    # not threading.Thread here: this thread may be starting one and hold the lock for it
    thread = threading.Thread(target=close, name="nightshift-closing", daemon=True)
    with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
        _thread.start_new_thread(thread.start, ())


__all__ = ["Holdings", "call_in_a_thread"]
