"""Turn each ``print()`` in a task into one log record, whatever its arguments."""

from __future__ import annotations

import logging
import sys
import threading

from celery.utils.log import LoggingProxy

LONGEST = 10_000
"""Maximum number of characters to buffer before an end of line."""


class Prints(LoggingProxy):
    """A stream whose lines become log records. ``print("a", 1)`` writes four times; Celery would log three records."""

    def __init__(self, logger: logging.Logger, level: int | str) -> None:
        super().__init__(logger, level)
        self._own = threading.local()

    def write(self, data: str | bytes) -> int:
        """Buffer ``data`` until its line ends; returns its length."""
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        kept = getattr(self._own, "kept", "") + text
        if text.endswith("\n") or len(kept) > LONGEST:
            self._own.kept = ""
            super().write(kept)
        else:
            self._own.kept = kept
        return len(data)

    def flush(self) -> None:
        """Log the buffered text, if any."""
        if sys.is_finalizing():  # gevent's locals are gone, and an error would change the exit code
            return
        kept, self._own.kept = getattr(self._own, "kept", ""), ""
        if kept:
            super().write(kept)


def redirect(level: int | str) -> None:
    """Log what this process prints, at ``level``, with Celery's logger for that."""
    sys.stdout = sys.stderr = Prints(logging.getLogger("celery.redirected"), level)


__all__ = ["Prints", "redirect"]
