"""``jobs.current``: the job that the running code belongs to, for its body and for whatever the body calls.

The extension imports this module, so it imports Celery only when a job runs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any

from ..domain.context import current_job
from ..errors import ConfigurationError
from .board import board

if TYPE_CHECKING:
    from ..journal import Journal

logger = logging.getLogger("flask_nightshift.task")


class CurrentJob:
    """The running job of this thread, greenlet or coroutine; threads that a body starts belong to no job.

    ``journal()`` is what records progress.
    """

    __slots__ = ("_journal", "_outcome", "_said")

    def __init__(self, journal: Callable[[], Journal]) -> None:
        self._journal = journal
        self._outcome: Callable[[], Any] | None = None
        self._said = False

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report that ``done`` of ``total`` is done, in any unit; ``note`` is a text for people.

        A loop may call it as often as it likes: the last report is kept, and the journal writes it within a second, at
        most twice a second for all jobs of a process. While the database is away the job goes on, and the last report
        is written later. The next attempt begins without progress. ``note`` is cut to 4 KiB.

        Outside of a job, and in an eager one, it only checks the values, because the history has no job to tell of; so
        a function that reports progress can be called by anything. Raises ``ConfigurationError`` (a ``ValueError``) for
        a number that is negative or not finite, and for a note that is no text.
        """
        if type(done) is not int or type(total) is not int or done < 0 or total < 0 or type(note) is not str:
            done, total, note = checked(done, total, note)
        outcome = self._outcome() if self._outcome is not None else self._bound()
        if outcome is None or outcome.eager:
            self._say_nowhere()
            return
        kept = outcome.progress
        if kept is None:
            kept = outcome.progress = self._journal().progress(outcome.job())
        kept.say(done, total, note)

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled the job since it began; cheap enough for every turn of a loop."""
        job = current_job.get()
        return job is not None and board.shows(job.job_id)

    def check_cancelled(self) -> None:
        """Raise ``Cancelled`` if somebody has cancelled the job, which then ends as cancelled.

        It ends so even if the body catches the error. Undo what is half done in a ``finally`` block. Outside of a job
        it does nothing.
        """
        if self.cancelled:
            from .attempt_outcome import stop_for_cancel

            raise stop_for_cancel()

    def _bound(self) -> Any:
        from .attempt_outcome import running

        self._outcome = running
        return running()

    def _say_nowhere(self) -> None:
        if not self._said:
            self._said = True
            logger.info("job.progress_ignored")


def checked(done: Any, total: Any, note: Any) -> tuple[float, float | None, str]:
    """The values of a report; raises ``ConfigurationError`` for a wrong one."""
    if not isinstance(note, str):
        raise ConfigurationError("note of progress()", note, "give a text")
    return _number("done", done), None if total is None else _number("total", total), note


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ConfigurationError(f"{name} of progress()", value, "give a finite number, 0 or more")
    return int(value) if isinstance(value, int) else float(value)


__all__ = ["CurrentJob", "checked"]
