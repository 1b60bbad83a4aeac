"""A job that the pool ``prefork`` has, and what Celery's request for it is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from billiard.common import human_status
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError

from . import wire
from .shared import NO_REPORT, Ended, Kind, Lost

logger = logging.getLogger(__name__)


class Handed:
    """One call, with its callbacks; Celery keeps a weak reference to it, as to billiard's."""

    __slots__ = (
        "__weakref__",
        "_accepted",
        "_back",
        "_failed",
        "_returned",
        "_succeeded",
        "_take_back",
        "_timed_out",
        "comes_back",
        "hard",
        "has_place",
        "job_id",
        "number",
        "signum",
        "soft",
        "stamps",
        "started",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        take_back: Callable[[int], object],
        *,
        soft: float | None,
        hard: float | None,
        callback: Any = None,
        error_callback: Any = None,
        accept_callback: Any = None,
        timeout_callback: Any = None,
        return_callback: Any = None,
        success_callback: Any = None,
        correlation_id: str | None = None,
        stamps: Mapping[str, Any] | None = None,
    ) -> None:
        self.job_id = correlation_id
        self.stamps = stamps or {}
        self._back, self._succeeded = return_callback, success_callback
        self.number, self.soft, self.hard = number, soft, hard
        self._take_back = take_back
        self._returned, self._failed = callback, error_callback
        self._accepted, self._timed_out = accept_callback, timeout_callback
        self.started = self.comes_back = False
        self.has_place = True
        """Whether it occupies one of the places of the worker's semaphore."""
        self.signum: int | None = None
        """The signal with which it was terminated."""

    def terminate(self, signum: int) -> None:
        """Celery asks to terminate it; if it has not started, it will not."""
        self.signum = signum
        if not self.started:
            self._take_back(self.number)

    # -- what happens to it --------------------------------------------------------------------------------

    def start(self, child: int, at: float) -> None:
        """A child has started it; told once."""
        if not self.started:
            self.started = True
            _tell(self._accepted, child, at)

    def reach_soft_limit(self) -> None:
        """It has reached its soft limit."""
        _tell(self._timed_out, True, self.soft)

    def end(self, ended: Ended) -> None:
        """The call returned or raised."""
        if self._succeeded is not None and not ended.body and ended.kind is Kind.RETURNED:
            _tell(self._succeeded, ended.child, ended.at, ended.runtime)
            return
        self.start(ended.child, ended.at)
        if ended.kind is Kind.UNREPORTED:
            _tell(self._returned, wire.success(None))
        else:
            raised, value = wire.end_of(ended.body, ended.runtime)
            _tell(self._failed if raised else self._returned, value)

    def be_lost(self, lost: Lost) -> None:
        """Its child died while it ran."""
        self.start(lost.child, lost.at)
        if lost.why == "hard limit":
            _tell(self._failed, wire.info(TimeLimitExceeded(self.hard)))
            _tell(self._timed_out, False, self.hard)
        elif self.signum is not None:
            self.be_terminated()
        elif lost.why == NO_REPORT:
            self.be_refused("its child reported a failure that could not be received")
        else:
            self.be_refused(f"Worker exited prematurely: {human_status(lost.status)} Job: {self.number}.")

    def be_refused(self, why: str) -> None:
        """It has failed without a word of its own."""
        _tell(self._failed, wire.info(WorkerLostError(why)))

    def come_back(self) -> None:
        """It was taken back: no child has started it, and none will."""
        _tell(self._back)

    def be_terminated(self) -> None:
        """It was terminated, before its start or after."""
        _tell(self._failed, wire.info(Terminated(-(self.signum or 0))))


def _tell(call: Callable[..., object] | None, *args: Any) -> None:
    """Make the call; its errors affect no other job."""
    if call is None:
        return
    try:
        call(*args)
    except Exception:
        logger.exception("Pool callback raised exception")


__all__ = ["Handed"]
