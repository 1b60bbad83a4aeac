"""What a task prints, as log records: one for each ``print()``, whatever it is given."""

from __future__ import annotations

import logging
import sys
import threading

from celery.utils.log import LoggingProxy

LONGEST = 10_000
"""Characters without an end of line that are kept back at most."""


class Prints(LoggingProxy):
    """A stream whose lines are log records. ``print("a", 1)`` writes four times; Celery would log thrice."""

    def __init__(self, logger: logging.Logger, level: int | str) -> None:
        super().__init__(logger, level)
        self._own = threading.local()

    def write(self, data: str | bytes) -> int:
        """Keep ``data`` until its line ends; its length."""
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        kept = getattr(self._own, "kept", "") + text
        if text.endswith("\n") or len(kept) > LONGEST:
            self._own.kept = ""
            super().write(kept)
        else:
            self._own.kept = kept
        return len(data)

    def flush(self) -> None:
        """Log what is kept, if anything."""
        if sys.is_finalizing():  # gevent's locals are gone by then, and an error would be the exit code
            return
        kept, self._own.kept = getattr(self._own, "kept", ""), ""
        if kept:
            super().write(kept)


def redirect(level: int | str) -> None:
    """Have what this process prints logged at ``level``, by the logger that Celery has for it."""
    sys.stdout = sys.stderr = Prints(logging.getLogger("celery.redirected"), level)


__all__ = ["Prints", "redirect"]
