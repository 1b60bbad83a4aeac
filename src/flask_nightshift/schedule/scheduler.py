"""Beat: each tick of the schedule enqueues exactly one job, however many Beats run.

Every Beat computes the ticks of an entry from the last one that was dealt with, which all of them share, and sends the
job of each tick together with the tick's claim (``claims.py``). Stock Beat advances an entry before it publishes the
job, so a failed publish skips the tick. Here an entry advances only when the tick is claimed; until then it stays due.
While the database is down, Beat continues from memory (invariant 7); it waits for the database only when it starts.
"""

from __future__ import annotations

import logging
import os
import socket
from datetime import datetime, timedelta
from typing import Any

from celery.beat import Scheduler

from ..domain.job import utcnow
from ..domain.tick import Claim, Tick, Verdict
from ..enqueue.by_name import NeedsProducer
from ..enqueue.composed import Composed, collected
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..services import Services
from ..store import schedules as rows
from ..store.schedules import Progress
from . import custom, jobs
from . import entries as schedule
from .claims import Claims, Sent
from .clock import ServerClock
from .due import Due
from .entry import JobEntry
from .life import Life
from .memory import BeatMemory

logger = logging.getLogger("flask_nightshift.beat")

PULSE_SECONDS = 5.0
"""Maximum seconds between two loops, for Beat's heartbeat."""
TRY_AGAIN_AFTER = 1.0
"""Seconds until Beat tries again to publish a tick."""
YIELD = timedelta(seconds=0.2)
"""How long Beat waits with an entry's tick if another Beat was faster last time, and then looks whether it is again.

So usually one Beat alone composes the jobs of an entry, and tools such as Sentry hear of each tick once.
"""
AT_ONCE = 100
"""Maximum number of ticks that one entry runs before the others have their turn."""


class JobScheduler(Scheduler):
    """Celery's scheduler, with the guarantees of the module's docstring.

    Each job goes through Celery's ``apply_entry``, because tools such as Sentry's wrap it. ``clock`` is for tests.
    """

    Entry = JobEntry

    def __init__(self, app: Any, *, clock: ServerClock | None = None, **options: Any) -> None:
        self.services: Services = app.services
        self.name = f"beat@{socket.gethostname()}:{os.getpid()}"
        store = self.services.store
        self.clock = clock or ServerClock([self.services.broker.now, lambda: rows.now(store)])
        self.memory = BeatMemory(store, self.name, self.clock)
        self._claims = Claims(self.services)
        self._relays = self.services.relays(self.name)
        self._lives: dict[str, Life] = {}
        self._tick: Tick | None = None
        self._sent: Sent | None = None
        options["max_interval"] = min(options.get("max_interval") or PULSE_SECONDS, PULSE_SECONDS)
        super().__init__(app, **options)

    def setup_schedule(self) -> None:
        """Read the entries, and their last ticks from the database; raises ``ConfigurationError``."""
        self.merge_inplace(schedule.entries(self.services))
        self.install_default_entries(self.schedule)
        self.clock.look()
        now = self.clock.now()
        for entry in self.schedule.values():
            self._life_of(entry, now)
        self.memory.recall()
        for relay in self._relays:
            relay.start()

    def close(self) -> None:
        """Write the values that are not stored yet."""
        super().close()
        for relay in self._relays:
            relay.stop()
        if self.services.on_dead:  # what a relay has buried
            self.services.notices.stop()
        self.memory.close()

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue due jobs; returns the seconds until another one may be due."""
        self.memory.note(utcnow())
        wait = float(self.max_interval)
        for entry in list(self.schedule.values()):
            try:
                seconds = self._serve(entry)
            except Exception:  # noqa: BLE001 - one bad entry must not stop the others; it is logged there
                _, seconds = self._is_due_failed(entry)
            wait = min(wait, float(seconds))
        return max(wait, 0.0)

    def _serve(self, entry: JobEntry) -> float:
        """Run what is due of an entry; returns the seconds until the next tick."""
        now = self.clock.now()
        life = self._followed(entry, now)
        if life.is_custom:
            return self._serve_custom(entry, life)
        due = life.due(now, entry.catch_up, self.app.conf.beat_cron_starting_deadline)
        since = life.last
        for at in due.run[:AT_ONCE]:
            if life.yields and (wait := (at + YIELD - now).total_seconds()) > 0:
                return wait
            sent = self._run(entry, life, Tick(entry.name, at))
            if sent is None:
                return TRY_AGAIN_AFTER
            entry = self.schedule[entry.name]
            self._tell_missed(entry, life, due, since)
        if not due.run:
            self._tell_missed(entry, life, due, since)
        if len(due.run) > AT_ONCE:
            return 0.0
        if due.through > life.last:
            life.passed(due.through)
            self.memory.did(entry.name, Progress(last_due_at=due.through, next_at=due.next_at))
        next_at = due.next_at if life.last == due.through else life.next_after(life.last)
        return PULSE_SECONDS if next_at is None else (next_at - self.clock.now()).total_seconds()

    def _serve_custom(self, entry: JobEntry, life: Life) -> float:
        at, seconds = custom.due(entry, life)
        if at is None:
            return seconds
        sent = self._run(entry, life, Tick(entry.name, at, after=life.last))
        return TRY_AGAIN_AFTER if sent is None else seconds

    def _tell_missed(self, entry: JobEntry, life: Life, due: Due, since: datetime) -> None:
        """Log once what becomes of ticks that were missed: when the first of them is enqueued, or none is."""
        first = due.run[0] if due.run else due.through
        if not due.missed or (life.told is not None and first <= life.told) or self._is_paused(entry):
            return
        life.told = due.through
        extra = {
            "entry": entry.name,
            "task": entry.task,
            "since": since.isoformat(),
            "enqueued": len(due.run),
        }
        logger.warning("beat.ticks_missed", extra=extra | {"catch_up": entry.catch_up})

    def _is_paused(self, entry: JobEntry) -> bool:
        row = self.memory.row(entry.name)
        return row is not None and row.paused_at is not None

    # lives
    def _life_of(self, entry: JobEntry, now: datetime) -> Life:
        life = self._lives.get(entry.name)
        if life is None or life.source is not entry.schedule:
            custom.set_clock(entry, self.clock)
            life = self._lives[entry.name] = Life.of(entry, now)
            self.memory.serve({entry.name: life.begin(entry)})
        return life

    def _followed(self, entry: JobEntry, now: datetime) -> Life:
        """The life of an entry, after a look at what the database says."""
        life = self._life_of(entry, now)
        told = {"entry": entry.name, "task": entry.task}
        if not life.adopted and (found := self.memory.adopted(entry.name)) is not None:
            life.adopt(found.row)
            if found.changed:
                logger.info("beat.schedule_changed", extra={**told, "schedule": life.timing.spec})
            entry.total_run_count += found.row.total_run_count
        elif (row := self.memory.row(entry.name)) is not None and life.adopted:
            life.follow(row, now)
        last = life.last
        if life.mend(now):
            logger.warning("beat.last_run_in_the_future", extra={**told, "last_run_at": last.isoformat()})
        return life

    # ticks
    def _run(self, entry: JobEntry, life: Life, tick: Tick) -> Sent | None:
        """Enqueue the job of a tick, and advance the entry; None if the tick stays due."""
        row = self.memory.row(entry.name)
        if row is not None and row.leaves_out(tick.due):
            return self._left_out(entry, life, tick, paused=row.paused_at is not None)
        if life.yields and self._claims.is_taken(tick, self.clock.now()):
            life.passed(tick.due)
            return Sent(Claim(Verdict.TAKEN))
        again = life.sending == tick.due
        life.sending, self._tick, self._sent = tick.due, tick, None
        self.apply_entry(entry, producer=None)
        sent = self._sent
        if sent is None:
            return None
        verdict = sent.claim.verdict
        if verdict is Verdict.EARLY:
            self.clock.look()
            return None
        if verdict is Verdict.SENDING:
            return None
        life.sending = None
        if verdict is Verdict.LEFT_OUT:
            return self._left_out(entry, life, tick, paused=False)
        life.ticked, life.yields = True, verdict is Verdict.TAKEN and not again
        last = sent.claim.last or tick.due
        life.passed(max(tick.due, last))
        if verdict is Verdict.CLAIMED or (again and last == tick.due):
            self._advanced(entry, life, tick, sent)
        return sent

    def _advanced(self, entry: JobEntry, life: Life, tick: Tick, sent: Sent) -> None:
        following = self.reserve(entry)
        following.last_run_at = tick.due
        if not sent.noted:
            progress = Progress(
                last_due_at=tick.due,
                next_at=life.next_after(tick.due),
                last_run_at=tick.due if sent.job_id else None,
                last_job_id=sent.job_id,
                runs=int(sent.job_id is not None),
            )
            self.memory.did(entry.name, progress)

    def _left_out(self, entry: JobEntry, life: Life, tick: Tick, *, paused: bool) -> Sent:
        life.passed(tick.due)
        if not paused:
            extra = {"entry": entry.name, "task": entry.task, "due": tick.due.isoformat()}
            logger.info("beat.tick_skipped", extra=extra)
            self.memory.did(entry.name, Progress(last_due_at=tick.due, next_at=life.next_after(tick.due)))
        return Sent(Claim(Verdict.LEFT_OUT))

    def apply_async(self, entry: JobEntry, *_: Any, **__: Any) -> Any:
        """Enqueue the job of the current tick for ``apply_entry``; returns its result, None if there is none."""
        tick = self._tick
        if tick is None:  # a tool's own call, beside the ticks
            return jobs.publish(self.app, entry, jobs.arguments(entry), jobs.options_of(entry))
        told = {"entry": entry.name, "task": entry.task, "due": tick.due.isoformat()}
        try:
            result, self._sent = self._send(entry, tick)
        except (BrokerUnavailable, DatabaseUnavailable) as exc:  # a durable job needs the database
            life = self._lives[entry.name]
            if not life.waits:
                logger.warning("beat.tick_waits", extra={**told, "why": str(exc)})
            life.waits = True
            return None
        except Exception:
            # the job cannot be sent at all, so the entry advances; otherwise it would fail every second
            self._sent = Sent(Claim(Verdict.CLAIMED))
            logger.exception("beat.tick_failed", extra=told)
            return None
        finally:
            self._tick = None
        self._lives[entry.name].waits = False
        if self._sent.claim.verdict is not Verdict.CLAIMED:
            return None
        logger.info("beat.tick", extra={**told, "job_id": result.id})
        return result

    def _send(self, entry: JobEntry, tick: Tick) -> tuple[Any, Sent]:
        arguments, options = jobs.arguments(entry), jobs.options_at(entry, tick.due)
        next_at = self._lives[entry.name].next_after(tick.due)
        job_id = str(options["task_id"])

        def publish() -> Any:
            return jobs.publish(self.app, entry, arguments, options)

        try:
            with collected() as composed:
                result = publish()
        except NeedsProducer:
            sent = self._claims.around(job_id, tick, publish)
            return self.app.AsyncResult(job_id), sent
        if not composed:  # task_always_eager has run it
            return result, Sent(Claim(Verdict.CLAIMED), job_id=job_id)
        sent = self._claims.send(_of(composed, job_id), tick, next_at)
        if sent.claim.verdict is Verdict.CLAIMED:
            self._send_others(composed, job_id)
        return result, sent

    def _send_others(self, composed: list[Composed], job_id: str) -> None:
        """Publish what the task's own ``apply_async`` enqueued beside the job of the tick."""
        main = _of(composed, job_id)
        for other in composed:
            if other is not main:
                self.services.celery.publisher.sender.send([other], {})


def _of(composed: list[Composed], job_id: str) -> Composed:
    """The job of the tick among the jobs that its task's ``apply_async`` enqueued."""
    return next((job for job in composed if job.job_id == job_id), composed[-1])


__all__ = ["JobScheduler"]
