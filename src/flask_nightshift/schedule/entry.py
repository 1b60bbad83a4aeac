"""Celery's entry of a schedule, with our keys beside Celery's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

from celery.beat import ScheduleEntry

from .due import ONCE


class JobEntry(ScheduleEntry):
    """An entry whose keys are checked (``entries.py``, ``policy.py``)."""

    def __init__(
        self,
        *args: Any,
        catch_up: str = ONCE,
        timezone: tzinfo | None = None,
        jitter: float = 0.0,
        overlap: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.catch_up = catch_up
        self.timezone = timezone
        self.jitter = jitter
        self.overlap = overlap

    def read(self, clock: Callable[[], datetime]) -> None:
        """Have the schedule take its time from ``clock``."""
        self.schedule: Any = copy.copy(self.schedule)
        self.schedule.nowfun = clock


__all__ = ["JobEntry"]
