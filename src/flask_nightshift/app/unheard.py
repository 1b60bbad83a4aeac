"""Results that a backend has stored and not told of, because the connection on which it would is dead.

A machine that loses its power or its network says nothing: no error tells that nothing can come any more. So who waits
for a result also looks whether it is there, now and then.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any

from celery import states

EVERY = 10.0
"""Seconds between two looks."""


class Unheard:
    """The waits (``result_waits.Wait``) for results of which a backend tells."""

    def __init__(self) -> None:
        self._waits: list[Any] = []
        self._due = 0.0

    def __bool__(self) -> bool:
        return bool(self._waits)

    def add(self, wait: Any) -> None:
        """Look at it, too."""
        if not self._waits:
            self._due = monotonic() + EVERY
        self._waits.append(wait)

    def look(self) -> bool:
        """Look if it is time, and tell the waits what is there; returns whether there is what they had not heard of."""
        self._waits = [wait for wait in self._waits if not wait.ended]
        if not self._waits or monotonic() < self._due:
            return False
        self._due = monotonic() + EVERY
        missed = False
        with suppress(Exception):  # the backend is away; the next look may use another connection
            for wait in self._waits:
                meta = wait.backend.get_task_meta(wait.id)
                if meta["status"] in states.READY_STATES and not wait.ended:
                    wait.tell(meta)
                    missed = True
        return missed


__all__ = ["EVERY", "Unheard"]
