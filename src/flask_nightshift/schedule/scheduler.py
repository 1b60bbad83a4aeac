"""Beat enqueues the jobs of the schedule and skips no tick.

Stock Beat advances an entry before it publishes the job, so a failed publish skips the tick. Here an entry advances
only when the broker has accepted its job; until then it stays due. The database keeps the time of each entry's last
run, or of its first sighting, so that a restarted Beat continues where the last one stopped. A tick that fell into a
downtime runs once. While the database is down, Beat continues from memory (invariant 7); it waits for the database only
when it starts.
"""

from __future__ import annotations

import enum
import functools
import logging
import os
import queue
import signal
import socket
import time
from datetime import datetime, timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler, Service, _evaluate_entry_args, _evaluate_entry_kwargs
from celery.schedules import schedule as interval

from ..brokers import require_shared
from ..domain.job import utcnow
from ..errors import BrokerUnavailable
from ..services import Services
from ..store.heartbeats import EntryState
from . import crontabs
from . import entries as schedule
from .memory import BeatMemory

logger = logging.getLogger("flask_nightshift.beat")

PULSE_SECONDS = 5.0
"""Maximum seconds between two loops, for Beat's heartbeat."""
TRY_AGAIN_AFTER = 1.0
"""Seconds until Beat tries again to publish a tick."""
CLOCK_STEP = timedelta(minutes=1)
"""A last run further in the future than this comes from a wrong clock."""


class Sent(enum.Enum):
    """The result of publishing an entry's job."""

    TAKEN = "taken"
    WAITS = "waits"
    """The broker is unavailable, so the entry stays due."""
    FAILED = "failed"
    """The job cannot be sent at all, so the entry advances; otherwise it would fail every second."""


class JobScheduler(Scheduler):
    """Celery's scheduler, with the guarantees of the module's docstring.

    Each job goes through Celery's ``apply_entry``, because tools such as Sentry's wrap it.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self.services: Services = app.services
        self.name = f"beat@{socket.gethostname()}:{os.getpid()}"
        self.memory = BeatMemory(self.services.store, self.name)
        self._recalled = False
        self._shown_at = float("-inf")
        self._sent = Sent.FAILED
        self._next: dict[str, tuple[Any, datetime, datetime]] = {}
        options["max_interval"] = min(options.get("max_interval") or PULSE_SECONDS, PULSE_SECONDS)
        super().__init__(app, **options)

    def setup_schedule(self) -> None:
        """Read the entries, and their last runs from the database; raises ``ConfigurationError``."""
        self.merge_inplace(schedule.entries(self.services))
        self.install_default_entries(self.schedule)
        self.memory.recall()
        self._go_on()

    def _go_on(self) -> None:
        """Continue where an earlier Beat stopped; called later if the database was down at the start.

        A new entry, and one whose schedule changed, starts now. Beat stores that at once, because otherwise each
        restart would postpone the entry's first tick.
        """
        if self._recalled or self.memory.past is None:
            return
        self._recalled = True
        for entry in self.schedule.values():
            past = self.memory.past.get(entry.name, EntryState(None))
            ran_already = entry.total_run_count > 0
            entry.total_run_count += past.total_run_count
            if past.last_run_at is None or ran_already or self._is_changed(entry, past):
                self._remember(entry)
            else:
                entry.last_run_at = past.last_run_at.astimezone(entry.last_run_at.tzinfo)

    def _is_changed(self, entry: ScheduleEntry, past: EntryState) -> bool:
        """Whether the schedule changed since the last run; then the entry has missed no tick of its new schedule."""
        changed = past.fingerprint is not None and past.fingerprint != schedule.fingerprint(entry.schedule)
        if changed:
            extra = {"entry": entry.name, "task": entry.task, "schedule": repr(entry.schedule)}
            logger.info("beat.schedule_changed", extra=extra)
        return changed

    def close(self) -> None:
        """Write the values that are not stored yet."""
        super().close()
        self.memory.close()

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue due jobs; returns the seconds until another one may be due."""
        self._show_life()
        self._go_on()
        wait = float(self.max_interval)
        for entry in list(self.schedule.values()):
            try:
                self._mend_last_run(entry)
                due, seconds = self.is_due(entry)
            except Exception:  # noqa: BLE001 - one bad entry must not stop the others; it is logged there
                due, seconds = self._is_due_failed(entry)
            if due:
                seconds = seconds if self._run(entry) else TRY_AGAIN_AFTER
            wait = min(wait, float(seconds))
        return max(wait, 0.0)

    def _show_life(self) -> None:
        """Sync less often than each tick: an entry for each second would cause a write a second."""
        now = time.monotonic()
        if now - self._shown_at >= PULSE_SECONDS / 2:
            self._shown_at = now
            self.memory.note(utcnow())

    def is_due(self, entry: ScheduleEntry) -> tuple[bool, float]:
        """Whether the entry is due, and the seconds until the next check."""
        when = entry.schedule
        if not crontabs.knows(when):
            due, seconds = entry.is_due()
            return due, seconds
        spec, last, next_at = self._next.get(entry.name, (None, None, None))
        if next_at is None or spec is not when or last != entry.last_run_at:
            next_at = crontabs.next_run(when, when.maybe_make_aware(entry.last_run_at), when.tz)
            self._next[entry.name] = when, entry.last_run_at, next_at
        now = when.maybe_make_aware(when.now())
        return crontabs.due(next_at, when, now, self.app.conf.beat_cron_starting_deadline)

    def _mend_last_run(self, entry: ScheduleEntry) -> None:
        """Reset a last run in the future, which comes from a wrong clock and would silence the entry until then."""
        now = entry.default_now()
        when = entry.schedule
        step = min(CLOCK_STEP, when.run_every) if isinstance(when, interval) else CLOCK_STEP
        if entry.last_run_at <= now + step:
            return
        extra = {"entry": entry.name, "task": entry.task, "last_run_at": entry.last_run_at.isoformat()}
        logger.warning("beat.last_run_in_the_future", extra=extra)
        entry.last_run_at = now
        self._remember(entry)

    def _run(self, entry: ScheduleEntry) -> bool:
        """Enqueue the entry's job and advance the entry; False if the broker did not accept the job."""
        self._sent = Sent.FAILED
        self.apply_entry(entry, producer=None)
        if self._sent is Sent.WAITS:
            return False
        following = self.reserve(entry)
        if self._sent is Sent.TAKEN:
            self._remember(following)
        return True

    def apply_async(self, entry: ScheduleEntry, *_: Any, **__: Any) -> Any:
        """Enqueue the entry's job for ``apply_entry``; returns its result, or None if the broker is unavailable."""
        options = {
            **entry.options,
            "headers": {**(entry.options.get("headers") or {}), "celery_beat_task": True},
        }
        task = self.app.tasks.get(entry.task)
        told = {"entry": entry.name, "task": entry.task}
        try:
            args, kwargs = _evaluate_entry_args(entry.args), _evaluate_entry_kwargs(entry.kwargs)
            if task is not None:
                result = task.apply_async(args, kwargs, **options)
            else:
                result = self.app.send_task(entry.task, args, kwargs, **options)
        except BrokerUnavailable as exc:
            self._sent = Sent.WAITS
            logger.warning("beat.tick_waits", extra={**told, "why": str(exc)})
            return None
        except Exception:
            self._sent = Sent.FAILED
            logger.exception("beat.tick_failed", extra=told)
            return None
        self._sent = Sent.TAKEN
        logger.info("beat.tick", extra={**told, "job_id": result.id})
        return result

    def _remember(self, entry: ScheduleEntry) -> None:
        fingerprint = schedule.fingerprint(entry.schedule)
        self.memory.remember(entry.name, EntryState(entry.last_run_at, entry.total_run_count, fingerprint))


class _Stoppable(JobScheduler):
    """Waits between ticks itself, so that a signal interrupts the wait and never a tick."""

    def __init__(self, stopping: queue.SimpleQueue[int], **options: Any) -> None:
        self._stopping = stopping
        super().__init__(**options)

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue due jobs and wait until another one may be due."""
        try:
            self._stopping.get(timeout=super().tick())
        except queue.Empty:
            return 0.0
        raise SystemExit(0)  # Celery's service closes this scheduler and ends


def run(services: Services) -> None:
    """Run Beat in this process until SIGTERM or SIGINT; raises ``ConfigurationError`` for an unusable schedule."""
    require_shared(services.broker)
    app = services.celery
    app.set_default()
    app.loader.import_default_modules()
    schedule.entries(services)  # refuse a wrong schedule before anything starts
    app.log.setup(services.settings.log_level)
    stopping: queue.SimpleQueue[int] = queue.SimpleQueue()  # unlike an Event, safe in a signal handler
    service = Service(app, scheduler_cls=functools.partial(_Stoppable, stopping))
    names = sorted(service.scheduler.schedule)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.put(number))
    logger.info("beat.started", extra={"entries": names})
    service.start()
    services.journal.close()
    logger.info("beat.stopped")


__all__ = ["JobScheduler", "run"]
