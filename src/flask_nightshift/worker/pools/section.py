"""A section of code that a signal handler must not enter a second time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Section:
    """Within the block, calls that come ``later`` wait for its end. Blocks may be nested; one thread uses it."""

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: deque[Callable[[], object]] = deque()

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        while not self._depth and self._waiting:
            self._waiting.popleft()()

    def later(self, call: Callable[[], object]) -> None:
        """Make the call at once, or at the end of the block that it interrupts."""
        if self._depth:
            self._waiting.append(call)
        else:
            call()


__all__ = ["Section"]
