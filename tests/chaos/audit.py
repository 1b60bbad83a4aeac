"""Judges one trial, as a pure function of the accepted jobs, the ledger, the dead letters and the injected blows."""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from .faults import Blow, Fault, Twice
from .ledger import Run

RunsOf = Callable[[str], Sequence[Run]]
HITS_A_WORKER = frozenset({Fault.WORKER_TREE_KILL, Fault.CHILD_KILL, Fault.WORKER_FREEZE, Fault.POISON})
HAS_VICTIMS = HITS_A_WORKER | {Fault.PAUSE}
"""Those that kill or freeze a worker; after a pause its jobs do not start again at once."""
BY_DELIVERIES = "delivery_limit"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job that ``delay()`` confirmed; ``doomed``: it must become a dead letter."""

    job: str
    doomed: bool = False


@dataclass(slots=True)
class Verdict:
    """The jobs by their outcome. ``recoveries`` in seconds."""

    lost: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    started_twice: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    """They ran twice, although nothing had happened that allows it."""
    wrong_ends: list[str] = field(default_factory=list)
    """They succeeded and should be dead, or are dead and nothing had happened that allows it."""
    recoveries: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float | None:
        """The longest recovery."""
        return max(self.recoveries, default=None)

    @property
    def median(self) -> float | None:
        """The median recovery."""
        return median(self.recoveries) if self.recoveries else None


def audit(
    accepted: Iterable[Accepted],
    runs_of: RunsOf,
    dead: Mapping[str, str],
    blows: Sequence[Blow],
    allowed: Twice,
) -> Verdict:
    """Judge every accepted job. ``dead``: job id to reason."""
    verdict = Verdict()
    for job in accepted:
        runs, reason = runs_of(job.job), dead.get(job.job)
        _judge_end(verdict, job, runs, reason, allowed)
        if _judge_twice(verdict, job.job, runs, reason):
            explained = allowed is Twice.ANY or (allowed is Twice.OF_VICTIMS and _of_victims(runs, blows))
            if not explained:
                verdict.unexplained.append(job.job)
    return verdict


def _judge_end(
    verdict: Verdict, job: Accepted, runs: Sequence[Run], reason: str | None, allowed: Twice
) -> None:
    succeeded = any(run.finished for run in runs)
    if reason is not None:
        verdict.dead.append(job.job)
        if not job.doomed and (allowed is Twice.NEVER or reason != BY_DELIVERIES):
            verdict.wrong_ends.append(job.job)
    elif not succeeded:
        verdict.lost.append(job.job)
    elif job.doomed:
        verdict.wrong_ends.append(job.job)


def _judge_twice(verdict: Verdict, job: str, runs: Sequence[Run], reason: str | None) -> bool:
    """Record jobs that started or ended twice; returns whether there are any. A retry does not count."""
    started = any(count > 1 for count in Counter(run.attempt for run in runs).values())
    ended = sum(run.finished for run in runs) + (reason is not None) > 1
    if started:
        verdict.started_twice.append(job)
    if ended:
        verdict.ended_twice.append(job)
    return started or ended


def _of_victims(runs: Sequence[Run], blows: Sequence[Blow]) -> bool:
    """Whether each run except the last was in a process that was killed or frozen."""
    return all(any(_hit(run, blow) for blow in blows) for run in runs[:-1])


def _hit(run: Run, blow: Blow) -> bool:
    return (
        blow.fault in HAS_VICTIMS
        and blow.worker == run.worker
        and blow.pid in (None, run.pid)
        and run.started <= blow.over
    )


def recoveries(runs: Iterable[Run], runs_of: RunsOf, blows: Sequence[Blow]) -> list[float]:
    """The seconds until the system recovered after each blow.

    After one to a worker: for each job that it had in hand, until that started again. After an outage: from its
    end until any job started. What never started again is lost or dead, and counted there.
    """
    by_worker: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_worker[run.worker].append(run)
    starts = sorted(run.started for of_one in by_worker.values() for run in of_one)
    found: list[float] = []
    for blow in blows:
        if blow.fault in HITS_A_WORKER and blow.worker is not None:
            found += _restarts(by_worker[blow.worker], runs_of, blow)
        elif blow.fault is not Fault.WORKER_TERM:
            found += [start - blow.over for start in starts[bisect(starts, blow.over) :][:1]]
    return found


def _restarts(of_worker: Sequence[Run], runs_of: RunsOf, blow: Blow) -> list[float]:
    found = []
    for run in of_worker:
        in_hand = run.started <= blow.over and (run.ended is None or run.ended > blow.over)
        if _hit(run, blow) and in_hand:
            later = [other.started for other in runs_of(run.job) if other.started > run.started]
            found += [min(later) - blow.at] if later else []
    return found


def poisonings(runs: Iterable[Run]) -> list[Blow]:
    """The blows by poison jobs: each run of one is a blow to its worker."""
    return [Blow(Fault.POISON, run.started, run.started + 1.0, run.worker) for run in runs]
