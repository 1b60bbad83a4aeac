"""One trial: inject a fault, as planned, into workers under load, then audit the result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .audit import Accepted, Verdict, audit, poisonings, recoveries
from .clients import Refused
from .faults import Blow, Fault, twice
from .injection import BEGAN_IN_PAUSE, NOT_RECOVERED, RECOVERY_LIMIT, FaultInjector
from .plan import Job, Plan
from .stock_app import VISIBILITY_TIMEOUT
from .workers import CONCURRENCY, Workers

TRICKLE = 0.01
"""Seconds between two jobs of the second half of a phase, so that some are enqueued during the fault."""
STALLED = 60.0
"""Seconds without any job coming to its end, after which what is missing counts as lost."""
BLINK = 0.05
SOON_AGAIN = frozenset({Fault.WORKER_TREE_KILL, Fault.CHILD_KILL})
LONGEST, MEDIAN = 20.0, 5.0
"""Seconds after which jobs of a killed process run again."""
ENOUGH = 20
"""Recoveries from which a median says something."""
CHECKS: Mapping[str, str] = {
    "lost": f"an accepted job neither succeeded nor became a dead letter, and for {STALLED:g} s no other job ended",
    "ran twice": "a job started or ended more than once, and the fault does not allow that",
    "ended in the wrong way": "a job that must fail succeeded, or another one is a dead letter for another reason than "
    "too many deliveries",
    "messages are still in the broker": f"all jobs have ended, and {STALLED:g} s later the broker is not empty",
    BEGAN_IN_PAUSE: "a job began although its queue was paused",
    NOT_RECOVERED: f"for {RECOVERY_LIMIT:g} s the jobs of a killed worker did not start again, or no job started "
    "after an outage",
    "until a job ran again": f"after {' and '.join(sorted(f'`{fault.value}`' for fault in SOON_AGAIN))}, a job of the "
    f"killed process started again later than {LONGEST:g} s, or half of {ENOUGH} or more jobs later than {MEDIAN:g} s",
}
"""What breaks a guarantee, by the words with which ``Outcome.broken`` reports it."""


@dataclass
class Outcome:
    """The result of a trial. ``kills``: how often the fault was injected; ``left``: messages still in the broker."""

    plan: Plan
    verdict: Verdict
    kills: int
    jobs: int
    refused: int
    left: int
    seconds: float
    stalled: Sequence[str] = ()
    stock: bool = False

    @property
    def broken(self) -> list[str]:
        """The guarantees that did not hold, each with the jobs concerned."""
        found = {
            "lost": self.verdict.lost,
            f"ran twice (allowed: {twice(self.plan.fault, self.plan.broker).value})": self.verdict.unexplained,
            "ended in the wrong way": self.verdict.wrong_ends,
        }
        text = [f"{what}: {' '.join(jobs)}" for what, jobs in found.items() if jobs]
        text += [f"{self.left} messages are still in the broker"] if self.left else []
        return [*text, *self.stalled, *self._slow]

    @property
    def _slow(self) -> list[str]:
        """The aims that recovery missed."""
        if self.plan.fault not in SOON_AGAIN:
            return []
        times = sorted(self.verdict.recoveries)
        late = [f"{time:.1f} s until a job ran again, aim {LONGEST:g} s" for time in times if time > LONGEST]
        if len(times) >= ENOUGH and (self.verdict.median or 0.0) > MEDIAN:
            late.append(f"{self.verdict.median:.1f} s until a job ran again, in the median, aim {MEDIAN:g} s")
        return late


class Producer(threading.Thread):
    """Enqueues the plan's jobs up to a quota that grows; the jobs that were accepted and refused."""

    def __init__(self, workers: Workers, plan: Plan) -> None:
        super().__init__(name="producer", daemon=True)
        self.accepted: list[Accepted] = []
        self.refused = 0
        self.failure: BaseException | None = None
        self._workers, self._plan = workers, plan
        self._candidates: Iterator[Job] = plan.candidates()
        self._quota = self._at_once = 0
        self._made = 0
        self.poisonous: list[str] = []
        self._stopped = threading.Event()

    def allow(self, quota: int) -> None:
        """Enqueue until ``quota`` jobs are accepted: half of what that adds at once, the rest one by one."""
        self._at_once = self._made + max(0, quota - self._made) // 2
        self._quota = max(quota, self._quota)

    @property
    def satisfied(self) -> bool:
        """Whether the quota is reached."""
        return self._made >= self._quota

    @property
    def exhausted(self) -> bool:
        """Whether all jobs of the plan are accepted."""
        return self._made >= self._plan.jobs

    def extend(self) -> None:
        """Raise the quota a little, as far as the plan's jobs go."""
        more = self._workers.size * CONCURRENCY * 2
        self._quota = min(max(self._quota, self._made) + more, self._plan.jobs)
        self._at_once = self._quota

    def poison(self) -> str:
        """Enqueue a job that kills its worker; returns its id. The broker must be up."""
        job = self._plan.poison(len(self.poisonous) + 1)
        if not self._enqueue(job):
            raise RuntimeError(f"the broker refused {job.id}")
        self.poisonous.append(job.id)
        return job.id

    def run(self) -> None:
        """Enqueue until stopped."""
        try:
            while not self._stopped.is_set():
                if self.satisfied:
                    self._stopped.wait(TRICKLE)
                elif self._enqueue(next(self._candidates)):
                    self._made += 1
                    if self._made >= self._at_once:
                        self._stopped.wait(TRICKLE)
        except BaseException as exc:  # noqa: BLE001 - the trial's own thread raises it
            self.failure = exc

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join(30)

    def _enqueue(self, job: Job) -> bool:
        try:
            self._workers.client.enqueue(job)
        except Refused:
            self.refused += 1
            self._stopped.wait(BLINK)
            return False
        self.accepted.append(Accepted(job.id, job.doomed))
        return True


class Trial:
    """Runs ``plan`` on ``workers``, which keep running afterwards."""

    def __init__(self, workers: Workers, plan: Plan) -> None:
        self._workers, self._plan = workers, plan
        self._producer = Producer(workers, plan)
        self._injector = FaultInjector(workers, self._feed, self._producer.poison)
        self._blows: list[Blow] = []
        self._pending: set[str] = set()
        self._seen = 0

    def run(self) -> Outcome:
        """Run the trial; raises errors of the trial itself."""
        began = time.monotonic()
        self._workers.heal()
        self._workers.until_up()
        self._producer.start()
        try:
            self._inject_all()
            left = self._quiesce()
        finally:
            self._producer.stop()
        return self._judge(left, time.monotonic() - began)

    def _inject_all(self) -> None:
        *quotas, last = self._plan.quotas()
        for step, quota in zip(self._plan.steps, quotas, strict=True):
            self._producer.allow(quota)
            blow = self._injector.inject(step)
            if blow is not None:
                self._blows.append(blow)
            self._workers.ensure()
        self._producer.allow(last)
        while not self._producer.exhausted:
            self._check_producer()
            time.sleep(BLINK)

    # how far it is
    def _missing(self) -> set[str]:
        """The accepted jobs that have not come to an end."""
        new = self._producer.accepted[self._seen :]
        self._seen += len(new)
        ended = self._workers.book.refresh().finished
        self._pending = {job for job in (*self._pending, *(one.job for one in new)) if job not in ended}
        return self._pending - self._workers.dead().keys() if self._pending else self._pending

    def _feed(self) -> bool:
        """Enqueue more jobs while the injector waits for load; False if none are left."""
        self._check_producer()
        if not self._producer.satisfied or self._missing():
            return True
        if self._producer.exhausted:
            return False
        self._producer.extend()
        return True

    def _check_producer(self) -> None:
        if self._producer.failure is not None:
            raise RuntimeError("the producer failed") from self._producer.failure

    def _quiesce(self) -> int:
        """Wait until every job has ended and the broker is empty; returns the number of messages left."""
        limit = STALLED + (VISIBILITY_TIMEOUT if self._workers.stock else 0)
        missing, since = self._missing(), time.monotonic()
        while missing and time.monotonic() - since < limit:
            time.sleep(BLINK)
            before, missing = missing, self._missing()
            if len(missing) < len(before):
                since = time.monotonic()
            self._workers.ensure()
        return self._left(limit) if not missing else 0

    def _left(self, limit: float) -> int:
        """Wait until nothing is ready, delayed or running: a late duplicate shows itself in that time."""
        deadline = time.monotonic() + limit
        while (left := self._still_there()) and time.monotonic() < deadline:
            time.sleep(BLINK)
        return left

    def _still_there(self) -> int:
        book = self._workers.book.refresh()
        running = sum(len(book.in_hand(worker.pid)) for worker in self._workers.up)
        return running or self._workers.client.left()

    # the end
    def _judge(self, left: int, seconds: float) -> Outcome:
        book, dead = self._workers.book.refresh(), self._workers.dead(fresh=True)
        accepted = self._producer.accepted
        poison = poisonings(run for job in self._producer.poisonous for run in book.of(job))
        blows = sorted(
            [*(b for b in self._blows if b.fault is not Fault.POISON), *poison], key=lambda b: b.at
        )
        allowed = twice(self._plan.fault, self._plan.broker)
        verdict = audit(accepted, book.of, dead, blows, allowed)
        mine = [run for job in accepted for run in book.of(job.job)]
        verdict.recoveries = recoveries(mine, book.of, blows)
        return Outcome(
            self._plan, verdict, len(blows), len(accepted), self._producer.refused, left, seconds,
            stalled=self._injector.stalled, stock=self._workers.stock,
        )  # fmt: skip
