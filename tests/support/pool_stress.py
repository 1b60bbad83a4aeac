"""Kill and freeze the children of a pool at every step of a job's way, and account for every job.

    PYTHONPATH=tests/support python -m pool_stress JOBS [KILLS [SEED [MOST_JOBS]]]

Three things go wrong at a time. Each child kills or stops itself at random steps. Another process kills and stops
children, or tells them to end, at any moment. The parent takes jobs back, terminates some, closes the fence and
changes the number of children. At the end every job has ended once, and each extra start of a job is explained by a
child that died while it ran the job.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
import zlib
from collections import Counter
from random import Random
from typing import Any

from driven_pool import DrivenPool
from flask_nightshift.worker.pools.shared import Ended, Event, Kind, Lost, Returned, Started, Terms, Work
from flask_nightshift.worker.pools.shared import fence as fences
from flask_nightshift.worker.pools.shared.child import Child
from flask_nightshift.worker.pools.shared.ring import End
from flask_nightshift.worker.pools.shared.slot import Slot

STEPS = (
    "taken",
    "marked",
    "looked",
    "runs",
    "in the body",
    "body returned",
    "returned",
    "in the ring",
)
LARGE = 200_000
DEFAULTS = ("25", "0", "0")
"""KILLS, SEED and MOST_JOBS; 0 is no limit."""


class Ledger:
    """What bodies and children note, in memory that they share."""

    def __init__(self, jobs: int) -> None:
        self.starts = memoryview(mmap.mmap(-1, (jobs + 1) * 8)).cast("Q")
        self.returns = memoryview(mmap.mmap(-1, (jobs + 1) * 8)).cast("Q")
        self.kills = memoryview(mmap.mmap(-1, len(STEPS) * 8)).cast("Q")
        self.stops = memoryview(mmap.mmap(-1, len(STEPS) * 8)).cast("Q")
        self.control = memoryview(mmap.mmap(-1, 4 * 8)).cast("Q")
        """0: whether mischief goes on; 1: kills by the other process; 2: its stops; 3: jobs that have ended."""


class Mischief:
    """Kills or stops this process at a step, seldom."""

    def __init__(self, ledger: Ledger, often: float) -> None:
        self._ledger, self._often = ledger, often
        self._pid = 0
        self.job = 0
        """What this process runs."""

    def returned(self) -> None:
        self._ledger.returns[self.job] += 1

    def at(self, step: str) -> None:
        if self._pid != os.getpid():
            self._pid, self._chance = os.getpid(), Random()
        chance = self._chance.random()
        if chance > self._often or not self._ledger.control[0]:
            return
        number = STEPS.index(step)
        if chance < self._often / 2:
            self._ledger.kills[number] += 1
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            self._ledger.stops[number] += 1
            os.kill(os.getpid(), signal.SIGSTOP)


def child_class(mischief: Mischief) -> type[Child]:
    """A child that is exposed to ``mischief`` between any two steps."""

    class Exposed(Child):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            slot: Slot = self._slot
            mark, run, end, put, take = slot.mark, slot.run, slot.end, self._ring.put, self._queue.take

            def taken(**how: Any) -> Any:
                job = take(**how)
                mischief.at("taken")
                return job

            def marked(ticket: int) -> None:
                mark(ticket)
                mischief.at("marked")

            def runs(ticket: int, started: int) -> None:
                mischief.at("looked")
                run(ticket, started)
                mischief.at("runs")

            def returned(ticket: int) -> None:
                mischief.at("body returned")
                end(ticket)
                mischief.returned()
                mischief.at("returned")

            def in_the_ring(end: End) -> bool:
                done = put(end)
                mischief.at("in the ring")
                return done

            self._slot = _Other(slot, mark=marked, run=runs, end=returned)  # type: ignore[assignment]
            self._ring = _Other(self._ring, put=in_the_ring)  # type: ignore[assignment]
            self._queue = _Other(self._queue, take=taken)  # type: ignore[assignment]

    return Exposed


class _Other:
    """An object with some of its methods replaced."""

    def __init__(self, wrapped: object, **replaced: object) -> None:
        self._wrapped = wrapped
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def gremlin(ledger: Ledger, parent: int, kills: float, seed: int) -> None:
    """In a process of its own: kill ``kills`` children a second, stop others, and let stopped ones go on.

    A few jobs end between two kills, because a busy machine may need longer for a child's start than that.
    """
    chance = Random(seed)
    stopped: dict[int, float] = {}
    next_kill, at_least = time.monotonic(), 0
    while os.getppid() == parent:
        time.sleep(chance.random() * 0.01)
        now = time.monotonic()
        with open(f"/proc/{parent}/task/{parent}/children") as file:
            children = [int(pid) for pid in file.read().split() if int(pid) != os.getpid()]
        for pid in children:
            if _state(pid) == "T":
                stopped.setdefault(pid, now + chance.choice((0.001, 0.01, 0.05, 0.05, 1.3)))
        for pid in [pid for pid, until in stopped.items() if until <= now or not ledger.control[0]]:
            del stopped[pid]
            _send(pid, signal.SIGCONT)
        if not children or not ledger.control[0]:
            continue
        if now > next_kill and ledger.control[3] >= at_least:
            next_kill, at_least = now + chance.expovariate(kills), ledger.control[3] + chance.randrange(6)
            deadly = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
            ledger.control[1] += _send(chance.choice(children), deadly)
        elif chance.random() < 0.05:
            ledger.control[2] += _send(chance.choice(children), signal.SIGSTOP)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _send(pid: int, signum: int) -> bool:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


class Stress:
    """The parent: submits ``jobs`` jobs, hands in again what was returned or lost, and keeps the books.

    ``kills``: how many a second by another process; ``mischief``: how probable a kill or stop is at each step.
    ``most_jobs``: jobs after which a child is replaced; None is no limit.
    """

    def __init__(
        self,
        jobs: int,
        *,
        children: int = 4,
        kills: float = 20.0,
        mischief: float = 0.0015,
        seed: int = 0,
        most_jobs: int | None = None,
    ) -> None:
        self.jobs, self.kills, self.seed = jobs, kills, seed
        self.chance = Random(seed)
        self.ledger = Ledger(jobs)
        self.books: Counter[str] = Counter()
        self.losses: Counter[int] = Counter()
        self.ended: set[int] = set()
        self.again: list[int] = []
        self.faults: list[str] = []
        self.running: list[int] = []
        self.next_job = 1
        mischievous = Mischief(self.ledger, mischief)
        work = Work(self.body(mischievous), stays=lambda jobs: most_jobs is None or jobs < most_jobs)
        self.pool = DrivenPool(children, work, self.hear, child=child_class(mischievous), depth=40)

    def body(self, mischief: Mischief) -> Any:
        starts = self.ledger.starts

        def run(payload: bytes) -> bytes:
            job, _, rest = payload.partition(b" ")
            number = int(job)
            starts[number] += 1
            mischief.job = number
            mischief.at("in the body")
            if number % 7 == 0:
                time.sleep(0.0007 * (number % 4))
            result = b"%d %d" % (number, zlib.crc32(rest))
            return result + bytes(LARGE if number % 97 == 0 else 0) if number % 5 == 0 else b""

        return run

    def payload(self, job: int) -> bytes:
        rest = (b"%d" % (job * 7919)) * (20 if job % 50 else LARGE // 4)
        return b"%d %s" % (job, rest)

    def hear(self, event: Event) -> None:
        kind = type(event).__name__
        self.books[kind] += 1
        job = event.job
        if job in self.ended:
            self.faults.append(f"{event} after its end")
        if isinstance(event, Started):
            self.running.append(job)
        elif isinstance(event, Returned):
            if self.ledger.starts[job] > self.losses[job]:
                self.faults.append(f"{event}, but it was started")
            self.again.append(job)
        elif isinstance(event, Lost):
            self.books[f"Lost, {event.why or 'killed'}"] += 1
            if event.status not in (-signal.SIGKILL, signal.SIGTERM):
                self.faults.append(f"{event}, but its child was not killed")
            if self.ledger.returns[job]:
                self.faults.append(f"{event}, but its body had returned")
            self.losses[job] += 1
            self.again.append(job)
        elif isinstance(event, Ended):
            self.ended.add(job)
            self.ledger.control[3] += 1
            self.books[f"Ended, {event.kind.name}"] += 1
            if not self.ledger.starts[job]:
                self.faults.append(f"{event}, but it never started")
            if event.kind is Kind.RAISED:
                self.faults.append(f"{event}")
            if event.kind is Kind.RETURNED and job % 5 == 0:
                expected = b"%d %d" % (job, zlib.crc32(self.payload(job).partition(b" ")[2]))
                if event.body.rstrip(b"\0") != expected:
                    self.faults.append(f"job {job}: {event.body[:40]!r} for {expected!r}")

    def trouble(self) -> None:
        """What a worker asks of its pool, at random."""
        pool, chance = self.pool.pool, self.chance
        dice = chance.random()
        if dice < 0.02:
            for job in chance.sample(range(self.next_job, self.next_job + 100), 20):
                pool.take_back(job - 100)
        elif dice < 0.022:
            pool.take_all_back()
        elif dice < 0.05 and self.running:
            self.books["terminate"] += pool.terminate(chance.choice(self.running[-4:]))
        elif dice < 0.055:
            pool.fence.open_until(fences.now() + chance.choice((-1, 2)) * 1_000_000)
        elif dice < 0.1:
            pool.fence.open_until(fences.OPEN)
        elif dice < 0.11:
            pool.grow() if pool.size < 5 else pool.shrink()

    def run(self, seconds: float) -> dict[str, Any]:
        """All of it, within ``seconds``; what happened, with ``faults``."""
        self.ledger.control[0] = 1
        parent = os.getpid()
        other = os.fork()
        if not other:
            try:
                gremlin(self.ledger, parent, self.kills, self.seed)
            finally:
                os._exit(0)
        begun = time.monotonic()
        pool = self.pool.pool
        try:
            while len(self.ended) < self.jobs and not self.faults:
                if time.monotonic() - begun > seconds:
                    self.faults.append(f"{self.jobs - len(self.ended)} jobs have not ended")
                    break
                while len(pool) < 100 and (self.again or self.next_job <= self.jobs):
                    if self.again:
                        job = self.again.pop()
                    else:
                        job, self.next_job = self.next_job, self.next_job + 1
                    pool.submit(job, self.payload(job), Terms(hard=2.5, announce=job % 3 == 0))
                if self.next_job > self.jobs:
                    self.ledger.control[0] = 0
                    pool.fence.open_until(fences.OPEN)
                else:
                    self.trouble()
                self.pool.turn(0.02)
        finally:
            self.ledger.control[0] = 0
            took = time.monotonic() - begun
            self.pool.close()
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
        starts = self.ledger.starts
        twice = [job for job in range(1, self.jobs + 1) if starts[job] > 1 + self.losses[job]]
        if twice:
            self.faults.append(f"these ran twice although no child died with them: {twice[:20]}")
        return {
            "jobs": self.jobs,
            "seconds": round(took, 1),
            "kills by another process": self.ledger.control[1],
            "kills at a step": dict(zip(STEPS, self.ledger.kills, strict=True)),
            "kills": self.ledger.control[1] + sum(self.ledger.kills) + self.books["Lost, terminated"],
            "stops": self.ledger.control[2] + sum(self.ledger.stops),
            "handed out again, not begun": pool._accounts.reissued,
            "started more than once, a child having died": sum(
                starts[job] > 1 for job in range(self.jobs + 1)
            ),
            **dict(sorted(self.books.items())),
            "faults": self.faults,
        }


def main() -> None:
    jobs, kills, seed, most_jobs = (int(value) for value in [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 2 :]])
    figures = Stress(jobs, kills=float(kills), seed=seed, most_jobs=most_jobs or None).run(3600)
    print(json.dumps(figures, indent=2))
    sys.exit(bool(figures["faults"]))


if __name__ == "__main__":
    main()
