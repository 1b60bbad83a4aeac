"""Injects each fault into running workers; every method returns the blow, or None if there was no victim."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

from redis_cluster import RedisCluster
from servers import wait_for

from .brokers import cut_connections
from .faults import Blow, Fault
from .ledger import Run
from .plan import Step
from .workers import Worker, Workers

AWAY = 4.0
"""Seconds for which a stopped database stays away, and every other time a frozen broker."""
LONG_AWAY = 18.0
"""Seconds for which a broker or a whole host is frozen: longer than a lease."""
WAKING = 1.0
"""Seconds between two workers of a host that wakes; less than until a renewal is due."""
DOWN = 1.0
"""Seconds between the broker's death and its restart."""
RECOVERY_LIMIT = 90.0
"""Seconds after which a trial goes on although the jobs have not begun again: the audit will tell."""
STOCK_LIMIT = 2.0
"""The same for stock Celery, which gives jobs out again when its visibility timeout is over."""
PATIENCE = 0.02
LOOKS = 25
"""Looks, ``PATIENCE`` seconds apart, after which another worker than the one picked is good enough."""
HEARD = 2.0
"""Seconds after which nothing of a paused queue begins."""
BEGAN_IN_PAUSE = "a job of a paused queue began"
NOT_RECOVERED = "the system did not recover"
POISON_LIMIT = 8
"""Deliveries of poison after which stock Celery is taken at its word that this never ends."""


class FaultInjector:
    """Injects faults into ``workers``; ``feed`` enqueues more jobs; it returns False if none are left."""

    def __init__(self, workers: Workers, feed: Callable[[], bool], poison: Callable[[], str]) -> None:
        self._workers, self._book = workers, workers.book
        self._feed, self._poison = feed, poison
        self._limit = STOCK_LIMIT if workers.stock else RECOVERY_LIMIT
        self._freezes = itertools.cycle((LONG_AWAY, AWAY))
        self.stalled: list[str] = []
        """What did not come back in time."""
        self._injections: dict[Fault, Callable[[Step], Blow | None]] = {
            Fault.WORKER_TREE_KILL: self._kill_tree,
            Fault.CHILD_KILL: self._kill_child,
            Fault.WORKER_TERM: self._terminate,
            Fault.WORKER_FREEZE: self._freeze_worker,
            Fault.BROKER_KILL: self._kill_broker,
            Fault.BROKER_FREEZE: self._freeze_broker,
            Fault.HOST_FREEZE: self._freeze_host,
            Fault.CONNECTION_CUT: self._cut,
            Fault.DATABASE_AWAY: self._database_away,
            Fault.POISON: self._poisoned,
            Fault.PAUSE: self._pause,
            Fault.SWITCHOVER: self._switch_over,
            Fault.OWNER_KILL: self._kill_owner,
            Fault.SLOT_MOVE: self._move_slot,
        }

    def inject(self, step: Step) -> Blow | None:
        """Inject the fault under load, and wait until the system works again."""
        return self._injections[step.fault](step)

    # workers
    def _kill_tree(self, step: Step) -> Blow | None:
        victim = self._busy_worker(step)
        if victim is None:
            return None
        hand = self._book.in_hand(victim.pid)
        blow = Blow(step.fault, time.time(), 0.0, victim.pid)
        victim.kill()
        blow.over = time.time()
        self._workers.ensure()
        self._until_begun_again(hand)
        # else the next kill would hit the same jobs, just begun, until they are delivered too often
        self._wait(lambda: not self._unfinished(hand), self._limit)
        return blow

    def _kill_child(self, step: Step) -> Blow | None:
        hand: list[Run] = []
        while not hand:  # what it had may have ended by now
            victim = self._busy_worker(step)
            if victim is None:
                return None
            hand = self._book.in_hand(victim.pid)
        run = min(hand, key=lambda run: run.pid)
        blow = Blow(step.fault, time.time(), 0.0, run.worker, run.pid)
        os.kill(run.pid, signal.SIGKILL)
        blow.over = time.time()
        self._until_begun_again([run])
        return blow

    def _terminate(self, step: Step) -> Blow | None:
        victim = self._busy_worker(step)
        if victim is None:
            return None
        blow = Blow(step.fault, time.time(), 0.0, victim.pid)
        victim.terminate()
        blow.over = time.time()
        self._workers.ensure()
        return blow

    def _freeze_worker(self, step: Step) -> Blow | None:
        """Freeze while every child runs a job, so that no job is in a pipe."""
        victim, blow = self._busy_worker(step), None
        while victim is not None and blow is None:
            at = time.time()
            victim.signal_all(signal.SIGSTOP)
            hand = self._book.refresh().in_hand(victim.pid)
            if len(hand) < self._workers.setup.at_once:
                victim.signal_all(signal.SIGCONT)
                victim = self._busy_worker(step)
                continue
            blow = Blow(step.fault, at, time.time(), victim.pid)
            try:
                self._until_begun_again(hand)
            finally:
                victim.signal_all(signal.SIGCONT)
        return blow

    # the broker
    def _kill_broker(self, step: Step) -> Blow | None:
        def away() -> None:
            self._workers.server.kill()
            time.sleep(DOWN)

        return self._outage(step, away, self._workers.server.start)

    def _freeze_broker(self, step: Step) -> Blow | None:
        def away() -> None:
            self._workers.server.freeze()
            time.sleep(next(self._freezes))

        return self._outage(step, away, self._workers.server.thaw)

    def _freeze_host(self, step: Step) -> Blow | None:
        """The first process that wakes finds that the leases of the others have expired."""
        workers = self._workers.up

        def away() -> None:
            for worker in workers:
                worker.signal_all(signal.SIGSTOP)
            self._workers.server.freeze()
            time.sleep(LONG_AWAY)

        def back() -> None:
            self._workers.server.thaw()
            for worker in workers:
                worker.signal_all(signal.SIGCONT)
                time.sleep(WAKING)

        return self._outage(step, away, back)

    def _cut(self, step: Step) -> Blow | None:
        return self._outage(step, lambda: cut_connections(self._workers.server), lambda: None)

    # a cluster
    def _switch_over(self, step: Step) -> Blow | None:
        cluster = self._cluster
        return self._outage(step, cluster.fail_over, cluster.settled)

    def _kill_owner(self, step: Step) -> Blow | None:
        cluster = self._cluster
        return self._outage(step, lambda: cluster.kill_owner(replicated=True), cluster.ensure)

    def _move_slot(self, step: Step) -> Blow | None:
        return self._outage(step, self._cluster.move, lambda: None)

    @property
    def _cluster(self) -> RedisCluster:
        cluster: Any = self._workers.server
        assert isinstance(cluster, RedisCluster), "only a cluster has these faults"
        return cluster

    # the database
    def _database_away(self, step: Step) -> Blow | None:
        database = self._workers.postgres
        assert database is not None, "the setup of this fault has one"

        def away() -> None:
            database.stop()
            time.sleep(AWAY)

        return self._outage(step, away, database.start)

    # jobs
    def _poisoned(self, step: Step) -> Blow | None:
        at, job = time.time(), self._poison()

        def ended() -> bool:
            self._workers.ensure()
            deliveries = len(self._book.refresh().of(job))
            return job in self._workers.dead() or (self._workers.stock and deliveries >= POISON_LIMIT)

        self._wait(ended, 2 * RECOVERY_LIMIT)
        return Blow(step.fault, at, time.time())

    def _pause(self, step: Step) -> Blow | None:
        victim = None if self._workers.stock else self._busy_worker(step)
        if victim is None:
            return None
        blow = Blow(step.fault, time.time(), 0.0, victim.pid)
        self._workers.client.pause()
        try:
            victim.kill()
            cut_connections(self._workers.server)
            blow.over = time.time()
            time.sleep(HEARD)
            quiet_since = time.time()
            self._workers.ensure()
            self._workers.until_up()
            time.sleep(HEARD)
            if self._book.refresh().started_since(quiet_since):
                self.stalled.append(BEGAN_IN_PAUSE)
        finally:
            self._workers.client.resume()
        resumed = time.time()
        self._wait(lambda: self._book.refresh().started_since(resumed) or not self._feed(), RECOVERY_LIMIT)
        return blow

    # waiting
    def _outage(self, step: Step, away: Callable[[], Any], back: Callable[[], Any]) -> Blow | None:
        if self._busy_worker(step) is None:
            return None
        blow = Blow(step.fault, time.time(), 0.0)
        try:
            away()
        finally:
            back()
        blow.over = time.time()
        self._wait(lambda: self._book.refresh().started_since(blow.over) or not self._feed(), RECOVERY_LIMIT)
        return blow

    def _busy_worker(self, step: Step) -> Worker | None:
        """The worker that the step picks, or another if that has nothing to do; None if there are no jobs left."""
        wait_for(lambda: self._workers.up, RECOVERY_LIMIT, "no worker is up")
        for look in itertools.count():
            self._book.refresh()
            up = self._workers.up
            first = int(step.pick * len(up))
            acceptable = [*up[first:], *up[:first]][: len(up) if look > LOOKS else 1]
            busy = [worker for worker in acceptable if self._book.in_hand(worker.pid)]
            if busy:
                return busy[0]
            if not self._feed():
                return None
            time.sleep(PATIENCE)
        raise AssertionError("unreachable")

    def _until_begun_again(self, hand: Iterable[Run]) -> None:
        """Wait until the victim's jobs have started again or are dead."""
        self._wait(lambda: not self._waiting(hand), self._limit)

    def _waiting(self, hand: Iterable[Run]) -> list[str]:
        self._book.refresh()
        late = [run.job for run in hand if self._book.of(run.job)[-1] is run and not run.finished]
        return [job for job in late if job not in self._workers.dead()] if late else []

    def _unfinished(self, hand: Iterable[Run]) -> set[str]:
        missing = {run.job for run in hand} - self._book.refresh().finished
        return missing - self._workers.dead().keys() if missing else missing

    def _wait(self, check: Callable[[], object], seconds: float) -> None:
        try:
            wait_for(check, seconds, NOT_RECOVERED)
        except TimeoutError as exc:
            if not self._workers.stock:  # which takes longer by design
                self.stalled.append(str(exc))
