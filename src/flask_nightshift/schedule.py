"""The schedule: what Beat enqueues and when, and a Beat that forgets no tick.

Stock Beat moves an entry on before it publishes it, so a tick whose publish fails is skipped. Here an entry
moves on only when the broker has taken its job; until then it stays due. The time of an entry's last run, or
of the moment when it was first seen, is kept in the database, so a restarted Beat goes on where the last one
stopped; a tick that fell into a downtime runs once. With the database away Beat goes on from memory
(invariant 7), and waits for it only when it starts.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import BaseSchedule, ParseException, crontab

from .config import Settings
from .errors import BrokerUnavailable, ConfigurationError
from .job import utcnow
from .runtime import Runtime
from .store.beat_memory import BeatMemory

logger = logging.getLogger(__name__)

KEY = "NIGHTSHIFT_SCHEDULE"
PRUNE = "nightshift.prune"
"""The name of the retention task and of its entry."""
PULSE_SECONDS = 5.0
"""Beat wakes at least this often, to show that it lives."""
TRY_AGAIN_AFTER = 1.0
"""Seconds until a tick that could not be published is tried again."""
_ENTRY_KEYS = frozenset({"task", "schedule", "args", "kwargs", "queue", "options"})
_ALLOWED = (
    "seconds, a timedelta, a crontab text such as '30 3 * * *' (minute hour day-of-month month day-of-week), "
    "or a Celery schedule"
)


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """``NIGHTSHIFT_SCHEDULE`` as Celery's ``beat_schedule``, with our own retention job added."""
    entries = {name: _entry(name, value) for name, value in settings.schedule.items()}
    entries.setdefault(PRUNE, {"task": PRUNE, "schedule": crontab(minute="30", hour="3"), "options": {}})
    return entries


def _entry(name: str, value: Any) -> dict[str, Any]:
    key = f"{KEY}[{name!r}]"
    if not isinstance(value, Mapping):
        raise ConfigurationError(key, value, "give a dict: {'task': name, 'schedule': " + _ALLOWED + "}")
    for unknown in sorted(set(value) - _ENTRY_KEYS):
        allowed = ", ".join(sorted(_ENTRY_KEYS))
        raise ConfigurationError(f"{key}[{unknown!r}]", value[unknown], f"an entry may have {allowed}")
    task = value.get("task")
    if not isinstance(task, str) or not task:
        raise ConfigurationError(f"{key}['task']", task, "give the name of a task")
    options = dict(value.get("options") or {})
    if value.get("queue"):
        options["queue"] = value["queue"]
    return {
        "task": task,
        "schedule": _when(f"{key}['schedule']", value.get("schedule")),
        "args": tuple(value.get("args") or ()),
        "kwargs": dict(value.get("kwargs") or {}),
        "options": options,
    }


def _when(key: str, value: Any) -> BaseSchedule | timedelta:
    if isinstance(value, (BaseSchedule, timedelta)):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return timedelta(seconds=value)
    if isinstance(value, str):
        try:
            return crontab.from_string(value)
        except (ValueError, ParseException) as exc:
            raise ConfigurationError(key, value, f"{_ALLOWED} ({exc})") from None
    raise ConfigurationError(key, value, f"give {_ALLOWED}")


class JobScheduler(Scheduler):
    """Celery's scheduler with the guarantees in the module's docstring."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.runtime: Runtime = app.runtime
        self.name = f"beat@{socket.gethostname()}:{os.getpid()}"
        self.memory = BeatMemory(self.runtime.store, self.name)
        self._recalled = False
        options["max_interval"] = min(options.get("max_interval") or PULSE_SECONDS, PULSE_SECONDS)
        super().__init__(app, **options)

    def setup_schedule(self) -> None:
        """Read the entries, and from the database when each ran last."""
        super().setup_schedule()
        self.install_default_entries(self.schedule)  # merging the configured ones drops Celery's own
        self.memory.recall()
        self._go_on()

    def _go_on(self) -> None:
        """Go on where an earlier Beat stopped; also later, when the database was away at the start.

        An entry that nobody has heard of begins now. That is remembered at once: otherwise each restart would put
        its first tick off.
        """
        if self._recalled or self.memory.past is None:
            return
        self._recalled = True
        for entry in self.schedule.values():
            last_run_at, count = self.memory.past.get(entry.name, (None, 0))
            ran_already = entry.total_run_count > 0
            entry.total_run_count += count
            if last_run_at is None or ran_already:
                self._remember(entry)
            else:
                entry.last_run_at = last_run_at.astimezone(entry.last_run_at.tzinfo)

    def close(self) -> None:
        """Write what is not written yet."""
        super().close()
        self.memory.close()

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue what is due; returns the seconds until something may be due again."""
        self.memory.note(utcnow())
        self._go_on()
        wait = float(self.max_interval)
        for entry in list(self.schedule.values()):
            try:
                due, seconds = self.is_due(entry)
            except Exception:  # noqa: BLE001 - one bad entry must not stop the others; it is logged there
                due, seconds = self._is_due_failed(entry)
            if due:
                seconds = seconds if self._run(entry) else TRY_AGAIN_AFTER
            wait = min(wait, float(seconds))
        return max(wait, 0.0)

    def _run(self, entry: ScheduleEntry) -> bool:
        """Enqueue the entry's job and move the entry on; False: the broker did not take it."""
        options = {
            **entry.options,
            "headers": {**(entry.options.get("headers") or {}), "celery_beat_task": True},
        }
        task = self.app.tasks.get(entry.task)
        send = task.apply_async if task else functools.partial(self.app.send_task, entry.task)
        try:
            result = send(entry.args, entry.kwargs, **options)
        except BrokerUnavailable as exc:
            logger.warning(
                "beat.tick_waits", extra={"entry": entry.name, "task": entry.task, "why": str(exc)}
            )
            return False
        except Exception:
            logger.exception("beat.tick_failed", extra={"entry": entry.name, "task": entry.task})
            self.reserve(entry)
            return True
        logger.info("beat.tick", extra={"entry": entry.name, "task": entry.task, "job_id": result.id})
        self._remember(self.reserve(entry))
        return True

    def _remember(self, entry: ScheduleEntry) -> None:
        self.memory.remember(entry.name, entry.last_run_at, entry.total_run_count)


def run(runtime: Runtime) -> None:
    """Run Beat in this process until SIGTERM or SIGINT."""
    app = runtime.celery
    app.set_default()
    app.loader.import_default_modules()
    app.finalize()
    app.log.setup(runtime.settings.log_level)
    scheduler = JobScheduler(app)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    logger.info("beat.started", extra={"entries": sorted(scheduler.schedule)})
    while not stopping.wait(scheduler.tick()):
        pass
    scheduler.close()
    runtime.journal.close()
    logger.info("beat.stopped")
