"""What a test does with jobs: see what is enqueued, run it, let time pass, see what died."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from flask import Flask

from ..dead_letters.letters import Filters, find, list_letters
from ..domain.job import utcnow
from ..logs.duplicates import without_duplicates
from ..message.codec import decode, encode
from ..services import Services
from .jobs import Arguments, DeadJob, EnqueuedJob, RanJob, call_of, listed, same_call, signature_of
from .limits import let_pass
from .loan import lent
from .results import ResultRunner
from .running import Runner
from .schedule import Clock, Timetable
from .sight import Sight

MOST = 1_000
"""Attempts that one ``drain()`` makes, unless it is told otherwise."""
_A_MOMENT = 0.001


class Jobs:
    """The jobs of an app in a test. The fixture ``nightshift_jobs`` and ``in_memory(app)`` make it."""

    def __init__(self, services: Services, sight: Sight, runner: Runner) -> None:
        self._services, self._sight, self._runner = services, sight, runner
        self._clock = Clock(utcnow)
        self._timetable = Timetable(services, self._clock)

    # -- what waits ----------------------------------------------------------------------------------------

    def enqueued(self, task: Any = None, *, queue: str | None = None) -> list[EnqueuedJob]:
        """The jobs that wait: those that may run in the order in which they do, then delayed ones by time.

        Of the highest priority, the job that was ready first comes first, in whatever queue it is.

        ``task`` (a task or its name) and ``queue`` choose some of them.
        """
        name = None if task is None else _name(task)
        return [
            job for job in self._sight.waiting() if name in (None, job.task) and queue in (None, job.queue)
        ]

    def assert_enqueued(
        self,
        task: Any,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        queue: str | None = None,
        count: int | None = None,
    ) -> list[EnqueuedJob]:
        """Fail unless a job of ``task`` (a task or its name) waits, or exactly ``count`` of them; returns them.

        With ``args`` or ``kwargs``, their whole call must be this one; it does not matter which arguments are given by
        name. ``queue``: where they must wait. Raises ``TypeError`` if they are no list or tuple, and no dict.
        """
        __tracebackhide__ = True
        name = _name(task)
        _check_call(args, kwargs)
        call = None if args is None and kwargs is None else _as_sent(args or (), kwargs or {})
        signature = signature_of(self._services.celery.tasks.get(name))
        found = [
            job
            for job in self.enqueued(name, queue=queue)
            if call is None or same_call(call, (job.args, job.kwargs), signature)
        ]
        if bool(found) if count is None else len(found) == count:
            return found
        wanted = call_of(name, *call) if call else name
        where = f" in the queue {queue!r}" if queue is not None else ""
        how = "is not enqueued" if count is None else f"is enqueued {_times(len(found))}, not {_times(count)}"
        raise AssertionError("\n".join([f"{wanted}{where} {how}.", *self._instead(name)]))

    def _instead(self, name: str) -> Iterator[str]:
        """What there is instead, in lines."""
        yield listed("Enqueued are", self._sight.waiting(), "Nothing is enqueued.")
        if held := self._sight.held():
            yield listed("For the commit of their transaction wait", held)
        if self._sight.lost:
            yield listed("Not enqueued, because of their transaction", [job for job, _ in self._sight.lost])
        if ran := [job for job in self._runner.ran if job.task == name]:
            yield listed("Ran already", ran)
        if name not in self._services.celery.tasks:
            yield f"No task has the name {name!r}. There are: {self._runner.known_tasks()}"

    # -- running -------------------------------------------------------------------------------------------

    @property
    def ran(self) -> list[RanJob]:
        """The attempts that ended in this test, in their order."""
        return list(self._runner.ran)

    def run_next(self, *, raise_errors: bool | None = None) -> RanJob | None:
        """Run the job that comes first, in this thread, as a worker does; None if no job may run now.

        ``raise_errors``: raise what its body raises, after the job is settled (default: Celery's setting
        ``task_eager_propagates``). Raises ``AssertionError`` for a job whose task does not exist.
        """
        __tracebackhide__ = True
        following = self._sight.first()
        return None if following is None else self._runner.run(following, raise_errors)

    def drain(
        self, *, delayed: bool = False, raise_errors: bool | None = None, most: int = MOST
    ) -> list[RanJob]:
        """Run jobs until none may run, also those that are enqueued meanwhile; returns the attempts.

        ``delayed``: then travel to the next delayed job or retry, and go on until nothing waits. ``raise_errors`` as
        for ``run_next``. Raises ``AssertionError`` if ``most`` attempts do not suffice.
        """
        __tracebackhide__ = True
        ran: list[RanJob] = []
        while True:
            following = self._sight.first()
            if following is not None:
                self._bound("drain", len(ran), most)
                ran.append(self._runner.run(following, raise_errors))
            elif not (delayed and self._travel_to_next()):
                return ran

    def twice(self, *, raise_errors: bool | None = None, most: int = MOST) -> list[RanJob]:
        """``drain()``, and run each job that succeeds a second time, as if its worker was killed right after its body.

        "At least once" means that this happens. Raises ``AssertionError`` if the second run does not succeed; what both
        did together is for the test to check. The second run follows the first, unless that has enqueued a job of a
        higher priority. Jobs with ``acks_late=False`` run once, and so do the jobs that a second run enqueues.
        """
        __tracebackhide__ = True
        ran: list[RanJob] = []
        once: set[str] = set()
        while (following := self._sight.first()) is not None:
            self._bound("twice", len(ran), most)
            ran.append(self._runner.run_twice(following, raise_errors, once))
        return ran

    def _bound(self, name: str, made: int, most: int) -> None:
        __tracebackhide__ = True
        if made >= most:
            left = listed("There wait", self._sight.waiting())
            raise AssertionError(f"{name}() made {made:,} attempts. Does a task enqueue itself?\n{left}")

    # -- time ----------------------------------------------------------------------------------------------

    def travel(self, *args: timedelta, **time: float) -> None:
        """Let time pass: ``travel(minutes=10)``, or a ``timedelta``. Delays and retries that end meanwhile are due.

        The jobs of the schedule's ticks in that time are enqueued, as Beat does. No job runs yet, and the clock that
        ``datetime.now()`` reads does not change.

        In the body of a job it lets time pass for the job, too: at the soft time limit it raises
        ``SoftTimeLimitExceeded`` (a coroutine is cancelled), and the hard one ends the attempt as in a worker.
        """
        by = sum(args, timedelta(**time))
        if by <= timedelta():
            raise ValueError(f"travel() goes forward only, not by {by}")
        let_pass(by.total_seconds(), lambda seconds: self._travel(timedelta(seconds=seconds)))

    def _travel(self, by: timedelta) -> None:
        until = self._clock.now() + by
        for at, entry in self._timetable.ticks(until):
            self._pass(at - self._clock.now())
            self._timetable.enqueue(entry, at)
        self._pass(until - self._clock.now())

    def _pass(self, by: timedelta) -> None:
        if by > timedelta():
            self._clock.ahead += by
            self._sight.server.advance(by.total_seconds())

    def _travel_to_next(self) -> bool:
        """Travel to the next delayed job; False if there is none."""
        due = self._sight.next_due()
        if due is not None:
            self._travel(timedelta(seconds=max(0.0, due - self._sight.server.now()) + _A_MOMENT))
        return due is not None

    # -- the end of jobs -----------------------------------------------------------------------------------

    def dead_letters(self, task: Any = None) -> list[DeadJob]:
        """The dead letters that wait for somebody, the oldest first; ``task`` chooses those of a task."""
        self._runner.worker.archive()
        store = self._services.store
        letters = list_letters(store, Filters(task=None if task is None else _name(task)), None)
        return [self._sight.reader.of_letter(find(store, each.letter.id)) for each in reversed(letters)]

    def not_enqueued(self) -> list[EnqueuedJob]:
        """The jobs whose transaction was rolled back, closed without ``commit()``, or is open still.

        A test that leaves some fails, because they are lost. This call says that it expects those.
        """
        found = [job for job, _ in self._sight.lost] + self._sight.never_committed()
        self._sight.lost.clear()
        self._sight.expected |= {job.id for job in found}
        return found

    def check(self) -> None:
        """Raise ``AssertionError`` if jobs were lost with a transaction; the end of the test calls it."""
        __tracebackhide__ = True
        never = [f"{job}: its transaction was never committed" for job in self._sight.never_committed()]
        lost = [f"{job}: {why}" for job, why in self._sight.lost] + never
        if lost:
            text = listed("Jobs waited for a transaction, and were not enqueued", lost)
            raise AssertionError(f"{text}\nIf the test expects that, let it call not_enqueued().")


@contextmanager
def in_memory(app: Flask) -> Iterator[Jobs]:
    """The jobs of ``app`` in this process until the end of the block, without broker, worker and database.

    For tests without pytest, and for fixtures of your own: ``with in_memory(app) as jobs: …``. Raises
    ``AssertionError`` at its end if jobs were lost with a transaction.
    """
    with opened(app) as jobs:
        yield jobs
        jobs.check()


@contextmanager
def opened(app: Flask) -> Iterator[Jobs]:
    """``in_memory`` without the check at its end."""
    seen: list[Sight] = []
    with without_duplicates(), lent(app, lambda held, why: seen[0].note_lost(held, why)) as services:
        sight = Sight(services)
        seen.append(sight)
        runner = Runner(services, sight)
        services.result_runner = ResultRunner(sight, runner)
        try:
            yield Jobs(services, sight, runner)
        finally:
            runner.close()


def _name(task: Any) -> str:
    """The name of ``task``, a task or a name."""
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        raise TypeError(f"give a task or its name, not {task!r}")
    return name


def _check_call(args: object, kwargs: object) -> None:
    """Raise ``TypeError`` unless these are the arguments of a call, or None."""
    if not (args is None or isinstance(args, (list, tuple))):
        raise TypeError(f"args={args!r}: give a list of the positional arguments, such as [{args!r}]")
    if not (kwargs is None or isinstance(kwargs, dict)):
        raise TypeError(f"kwargs={kwargs!r}: give a dict of the arguments by name")


def _as_sent(args: Sequence[Any], kwargs: dict[str, Any]) -> Arguments:
    """Arguments as a job gets them after a journey in JSON; as they are if JSON cannot carry them."""
    try:
        sent_args, sent_kwargs = decode(encode([list(args), kwargs]))
    except (TypeError, ValueError):
        return list(args), kwargs
    return sent_args, sent_kwargs


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


__all__ = ["Jobs", "in_memory", "opened"]
