"""The pool of one queue, with real children: what they run, how they end, and what is told of it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from driven_pool import DrivenPool, Gate, driven
from flask_nightshift.worker.pools.shared import (
    NO_REPORT,
    Ended,
    Kind,
    Lost,
    Pool,
    Returned,
    SoftLimit,
    SoftLimitReached,
    Started,
    Terms,
    Work,
)
from flask_nightshift.worker.pools.shared import fence as fences
from flask_nightshift.worker.pools.shared.accounts import SETTLES
from flask_nightshift.worker.pools.shared.child import Child
from flask_nightshift.worker.pools.shared.events import PLAIN
from flask_nightshift.worker.pools.shared.ring import End


def nothing(_: bytes) -> bytes:
    return b""


def echo(payload: bytes) -> bytes:
    return payload


def snooze(payload: bytes) -> bytes:
    """Sleep for so many seconds."""
    time.sleep(float(payload))
    return b""


def test_every_job_ends_once() -> None:
    with driven(3, nothing) as pool:
        jobs = [pool.submit() for _ in range(2000)]
        pool.until(lambda: not len(pool.pool))
        ends = pool.of(Ended)
        assert sorted(end.job for end in ends) == jobs
        assert len({end.child for end in ends}) > 1
        assert all(end.kind is Kind.RETURNED for end in ends)


@pytest.mark.parametrize("size", [0, 1, 700, 16_384, 16_385, 65_528, 65_529, 1_000_000])
def test_a_message_and_a_result_of_any_size(size: int) -> None:
    payload = os.urandom(size)
    with driven(1, echo) as pool:
        jobs = [pool.submit(payload) for _ in range(5)]
        pool.until(lambda: not len(pool.pool))
        assert [(end.job, end.body) for end in pool.of(Ended)] == [(job, payload) for job in jobs]


def test_more_and_larger_results_than_any_buffer_holds() -> None:
    with driven(2, lambda payload: payload * 1000) as pool:
        for _ in range(300):
            pool.submit(os.urandom(16))
        time.sleep(0.3)  # the parent does not read meanwhile
        pool.until(lambda: not len(pool.pool))
        assert all(len(end.body) == 16_000 for end in pool.of(Ended))


def test_what_the_queue_does_not_take_waits_in_the_parent() -> None:
    gate = Gate()
    with driven(1, lambda _: gate.wait()) as pool:
        jobs = [pool.submit(bytes(10_000)) for _ in range(100)]
        assert pool.pool.waiting > 50
        gate.open()
        pool.until(lambda: not len(pool.pool))
        assert [end.job for end in pool.of(Ended)] == jobs, "in order"


def test_more_parcels_than_may_be_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    gate = Gate()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # other tests may have left some open
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], highest + 200), limits[1]))
    try:
        with driven(1, lambda payload: gate.wait() or payload[:1], depth=10_000) as pool:
            jobs = [pool.submit(bytes(100_000)) for _ in range(400)]
            assert pool.pool.waiting
            gate.open()
            pool.until(lambda: not len(pool.pool))
            assert [end.job for end in pool.of(Ended)] == jobs
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_no_job_waits_behind_a_long_one_while_a_child_is_free() -> None:
    with driven(2, snooze) as pool:
        long = pool.submit(b"10")
        short = [pool.submit(b"0.001") for _ in range(50)]
        pool.until(lambda: len(pool.of(Ended)) == 50)
        assert not pool.end_of(long)
        assert [end.job for end in pool.of(Ended)] == short


def test_an_end_is_known_at_once_although_its_child_runs_another_job() -> None:
    with driven(1, snooze) as pool:
        first = pool.submit(b"0.0001")
        second = pool.submit(b"3")
        pool.until(lambda: pool.end_of(first))
        assert not pool.end_of(second)


def test_a_pool_with_nothing_to_do_does_not_poll() -> None:
    with driven(2, snooze) as pool:
        pool.submit(b"0.8")
        pool.for_seconds(0.1)
        before = pool.polls
        pool.for_seconds(0.5)
        assert pool.polls - before <= 3, "the one job runs, and its end will be told"
        pool.until(lambda: not len(pool.pool))
        before = pool.polls
        pool.for_seconds(0.3)
        assert pool.polls - before <= 2


def test_a_start_is_told_at_once_where_it_is_asked_for() -> None:
    with driven(1, snooze) as pool:
        job = pool.submit(b"0.5", Terms(announce=True))
        pool.until(lambda: pool.of(Started))
        (started,) = pool.of(Started)
        assert started.job == job
        assert started.child in pool.pool.processes
        assert not pool.end_of(job)


def test_a_job_that_raises_ends_and_its_child_goes_on() -> None:
    def fail(_: bytes) -> bytes:
        raise SystemExit("no")

    with driven(1, fail) as pool:
        pool.submit()
        pool.submit()
        pool.until(lambda: not len(pool.pool))
        first, second = pool.of(Ended)
        assert first.kind is Kind.RAISED
        assert b"SystemExit: no" in first.body
        assert first.child == second.child


def test_what_an_observer_raises_hides_no_event() -> None:
    seen: list[int] = []

    def tell(event: object) -> None:
        if isinstance(event, Ended):
            seen.append(event.job)
            raise ZeroDivisionError

    pool = Pool(1, Work(nothing), tell)
    pool.start()
    pool.submit(1, b"")
    pool.submit(2, b"")
    end = time.monotonic() + 10
    while len(seen) < 2 and time.monotonic() < end:
        select.select([pool], [], [], 0.01)
        try:
            pool.poll()
        except ZeroDivisionError:
            assert select.select([pool], [], [], 0)[0], "it wants to be called again"
    assert seen == [1, 2]
    pool.kill()
    while pool.processes:
        pool.poll()
    pool.close()


# -- taken back --------------------------------------------------------------------------------------------


def test_jobs_in_the_queue_go_back_and_do_not_run() -> None:
    gate = Gate()

    def body(payload: bytes) -> bytes:
        gate[int(payload)] += 1
        gate.wait()
        return b""

    with driven(2, body) as pool:
        jobs = [pool.submit(str(number).encode()) for number in range(1, 500)]
        pool.until(lambda: len(pool.of(Started)) == 2)
        pool.pool.take_all_back()
        pool.until(lambda: len(pool.of(Returned)) == len(jobs) - 2, 2)
        gate.open()
        pool.until(lambda: not len(pool.pool))
        last = pool.submit(b"600")
        pool.until(lambda: pool.end_of(last))
        ran = {job for job in jobs if gate[job]}
        assert ran == {end.job for end in pool.of(Ended)} - {last}


def test_one_job_in_the_queue_goes_back() -> None:
    with driven(1, snooze) as pool:
        first, second, third = (pool.submit(b"0.2") for _ in range(3))
        pool.until(lambda: pool.of(Started))
        pool.pool.take_back(second)
        pool.pool.take_back(first)
        pool.until(lambda: not len(pool.pool))
        assert [event.job for event in pool.of(Returned)] == [second]
        assert [event.job for event in pool.of(Ended)] == [first, third]


# -- the fence ---------------------------------------------------------------------------------------------


def test_nothing_starts_behind_the_fence_until_it_moves() -> None:
    with driven(2, nothing) as pool:
        pool.pool.fence.open_until(fences.now())
        jobs = [pool.submit() for _ in range(5)]
        pool.for_seconds(0.2)
        assert not pool.events
        pool.pool.fence.open_until(fences.now() + 5_000_000_000)
        pool.until(lambda: not len(pool.pool))
        assert sorted(end.job for end in pool.of(Ended)) == jobs


def test_what_stands_behind_the_fence_is_taken_back_from_the_childs_hands() -> None:
    with driven(1, nothing) as pool:
        pool.pool.fence.open_until(fences.now())
        jobs = [pool.submit() for _ in range(3)]
        pool.for_seconds(0.1)
        pool.pool.take_all_back()
        pool.until(lambda: not len(pool.pool))
        assert sorted(event.job for event in pool.of(Returned)) == jobs
        pool.pool.fence.open_until(fences.OPEN)
        job = pool.submit()
        pool.until(lambda: pool.end_of(job))
        assert len(pool.of(Ended)) == 1


# -- time limits and signals -------------------------------------------------------------------------------


def test_a_soft_limit_raises_in_the_body_in_time() -> None:
    def body(_: bytes) -> bytes:
        begun = time.monotonic()
        try:
            time.sleep(5)
        except SoftLimitReached:
            return str(time.monotonic() - begun).encode()
        return b"no"

    with driven(1, body) as pool:
        job = pool.submit(b"", Terms(soft=0.3, hard=4))
        pool.until(lambda: pool.end_of(job))
        (end,) = pool.of(Ended)
        assert 0.3 <= float(end.body) < 3
        assert [event.job for event in pool.of(SoftLimit)] == [job]


def test_a_soft_limit_that_comes_late_raises_nowhere() -> None:
    """The signal comes while the child takes jobs, with the number of another one: 160 of 40,000 were lost so once."""
    with driven(1, nothing) as pool:
        (child,) = pool.pool.processes.values()
        stop = threading.Event()

        def pester() -> None:
            while not stop.wait(0.0005):
                child.slot.reach_soft_limit(1)
                child.send(signal.SIGUSR1)

        pool.submit()
        pool.until(lambda: not len(pool.pool))
        thread = threading.Thread(target=pester)
        thread.start()
        for _ in range(3000):
            pool.submit()
        pool.until(lambda: not len(pool.pool))
        stop.set()
        thread.join()
        assert len(pool.of(Ended)) == 3001
        assert list(pool.pool.processes) == [child.pid]


def test_a_hard_limit_kills_in_time_and_only_that_job() -> None:
    with driven(2, snooze) as pool:
        job, other = pool.submit(b"9", Terms(hard=0.3)), pool.submit(b"1")
        pool.until(lambda: pool.end_of(job))
        (lost,) = pool.of(Lost)
        assert (lost.job, lost.status, lost.why) == (job, -signal.SIGKILL, "hard limit")
        assert time.monotonic() - lost.at >= 0.3
        pool.until(lambda: pool.end_of(other))
        assert len(pool.of(Ended)) == 1
        pool.ready()


def test_terminate_hits_its_job_or_none() -> None:
    """The jobs end at the time of the kill; whatever else the child runs by then goes on."""
    with driven(2, lambda _: snooze(b"0.002")) as pool:
        ended: set[int] = set()
        asked: set[int] = set()
        for _ in range(300):
            for _ in range(4):
                pool.submit()
            pool.turn(0.001)
            for event in pool.events:
                (ended if isinstance(event, (Ended, Lost)) else set()).add(event.job)
            running = [event.job for event in pool.of(Started) if event.job not in ended]
            if running and pool.pool.terminate(running[-1]):
                pool.pool.terminate(running[0])  # maybe the same child, and by then with another job
                asked.add(running[0])
                asked.add(running[-1])
            pool.events[:] = [event for event in pool.events if not isinstance(event, Started)]
        pool.until(lambda: not len(pool.pool))
        assert pool.of(Lost)
        assert {lost.job for lost in pool.of(Lost)} <= asked
        assert {lost.why for lost in pool.of(Lost)} == {"terminated"}
        assert len(pool.of(Lost)) + len(pool.of(Ended)) == 1200


def test_terminate_with_a_signal_that_the_body_hears() -> None:
    def body(_: bytes) -> bytes:
        try:
            time.sleep(5)
        except SoftLimitReached:
            return b"heard"
        return b""

    with driven(1, body) as pool:
        job = pool.submit()
        pool.until(lambda: pool.of(Started))
        assert pool.pool.terminate(job, signal.SIGUSR1)
        pool.until(lambda: pool.end_of(job))
        assert pool.of(Ended)[0].body == b"heard"


def test_a_job_that_does_not_run_cannot_be_terminated() -> None:
    with driven(1, nothing) as pool:
        assert not pool.pool.terminate(99)


# -- children ----------------------------------------------------------------------------------------------


def test_grow_and_shrink() -> None:
    with driven(1, snooze) as pool:
        jobs = [pool.submit(b"0.01") for _ in range(40)]
        pool.pool.grow(2)
        pool.ready()
        assert sorted(each.index for each in pool.pool.processes.values()) == [0, 1, 2]
        pool.pool.shrink(2)
        pool.until(lambda: len(pool.pool.processes) == 1)
        pool.until(lambda: not len(pool.pool))
        assert sorted(end.job for end in pool.of(Ended)) == jobs


def test_a_child_is_replaced_under_its_index() -> None:
    troubles: list[tuple[str, int | None]] = []
    with driven(2, snooze, trouble=lambda *told: troubles.append(told)) as pool:
        victim = next(each for each in pool.pool.processes.values() if each.index == 0)
        victim.send(signal.SIGKILL)
        pool.until(lambda: victim.pid not in pool.pool.processes)
        pool.ready()
        assert sorted(each.index for each in pool.pool.processes.values()) == [0, 1]
        assert troubles == [("child 0 died: SIGKILL", victim.pid)]


def test_a_child_leaves_after_its_jobs_and_says_so() -> None:
    gate = Gate()
    work = Work(
        nothing, stays=lambda jobs: jobs < 10, leave=lambda code: gate.__setitem__(1, gate[1] + 1 + code)
    )
    with driven(1, work) as pool:
        for _ in range(100):
            pool.submit()
        pool.until(lambda: not len(pool.pool))
        assert len({end.child for end in pool.of(Ended)}) == 10
        assert gate[1] >= 9


def test_jobs_that_were_taken_back_do_not_count_among_those_of_a_child() -> None:
    """Else a child may end without having run one; its end has all waiting jobs taken back, and so on for ever."""
    gate = Gate()
    with driven(1, Work(lambda _: gate.wait(), stays=lambda jobs: jobs < 2)) as pool:
        pool.submit()
        pool.until(lambda: pool.of(Started))
        for job in [pool.submit() for _ in range(5)]:
            pool.pool.take_back(job)
        second = pool.submit()
        pool.until(lambda: len(pool.of(Returned)) == 5)
        gate.open()
        pool.until(lambda: pool.end_of(second))
        assert len({end.child for end in pool.of(Ended)}) == 1


def test_begin_is_called_with_the_index_and_a_child_that_cannot_begin_is_replaced_later() -> None:
    gate = Gate()

    def begin(index: int) -> None:
        gate[index + 1] += 1
        if gate[index + 1] == 1:
            raise RuntimeError("not yet")

    work = Work(nothing, begin=begin)
    begun = time.monotonic()
    with driven(1, work):
        assert gate[1] == 2
        assert time.monotonic() - begun > 0.9


def test_a_child_that_does_not_get_ready_is_replaced() -> None:
    gate = Gate()

    def begin(_: int) -> None:
        gate[1] += 1
        if gate[1] == 1:
            time.sleep(60)

    with driven(1, Work(nothing, begin=begin), ready_within=0.3):
        assert gate[1] == 2


def test_a_copy_that_a_job_forked_takes_no_jobs() -> None:
    def body(_: bytes) -> bytes:
        if not os.fork():
            return b"copy"
        os.wait()
        return b"child"

    with driven(1, body) as pool:
        for _ in range(10):
            pool.submit()
        pool.until(lambda: not len(pool.pool))
        assert {end.body for end in pool.of(Ended)} == {b"child"}
        assert len({end.child for end in pool.of(Ended)}) == 1


def test_a_stop_ends_what_runs_and_returns_the_rest() -> None:
    with driven(2, snooze) as pool:
        jobs = [pool.submit(b"0.3") for _ in range(10)]
        pool.until(lambda: len(pool.of(Started)) == 2)
        pool.pool.stop()
        pool.until(lambda: not pool.pool.processes)
        assert len(pool.of(Ended)) == 2
        assert len(pool.of(Returned)) == len(jobs) - 2


def test_a_stop_is_not_held_up_by_a_full_queue() -> None:
    with driven(1, snooze) as pool:
        for _ in range(300):
            pool.submit(b"0.3" + b" " * 10_000)
        pool.pool.stop()
        pool.until(lambda: not pool.pool.processes, 3)
        assert not len(pool.pool)


ORPHANS = """
import os, sys, time
sys.path[:0] = {path!r}
from driven_pool import driven
from flask_nightshift.worker.pools.shared import Work

def body(payload):
    with open({file!r}, "ab", buffering=0) as file:
        file.write(payload)
    time.sleep(0.2)
    return b""

with driven(2, body) as pool:
    print(*pool.pool.processes, flush=True)
    for _ in range(50):
        pool.submit(b"x")
    pool.until(lambda: len(pool.events) >= 2)
    os.kill(os.getpid(), 9)
"""


def test_children_of_a_dead_parent_start_nothing_more(tmp_path: object) -> None:
    file = f"{tmp_path}/ran"
    code = ORPHANS.format(path=sys.path, file=file)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    children = [int(pid) for pid in killed.stdout.split()]
    assert len(children) == 2, killed.stderr
    end = time.monotonic() + 5
    while any(map(_lives, children)):
        assert time.monotonic() < end
        time.sleep(0.01)
    with open(file, "rb") as ran:
        assert len(ran.read()) == 2


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_frozen_idle_child_holds_nothing_up() -> None:
    with driven(2, nothing) as pool:
        frozen = next(iter(pool.pool.processes.values()))
        frozen.send(signal.SIGSTOP)
        jobs = [pool.submit() for _ in range(200)]
        pool.until(lambda: not len(pool.pool), 3)
        assert sorted(end.job for end in pool.of(Ended)) == jobs
        frozen.send(signal.SIGCONT)


def test_nothing_is_left_open() -> None:
    def once() -> None:
        with driven(3, echo) as pool:
            for size in (10, 100_000, 20_000):
                pool.submit(bytes(size))
            pool.until(lambda: not len(pool.pool))

    once()
    before = len(os.listdir("/proc/self/fd"))
    once()
    assert len(os.listdir("/proc/self/fd")) == before


def test_taking_back_takes_about_as_long_as_it_must() -> None:
    with driven(1, snooze) as pool:
        pool.submit(b"0.3")
        second = pool.submit(b"0.3")
        pool.until(lambda: pool.of(Started))
        begun = time.monotonic()
        pool.pool.take_back(second)
        pool.until(partial(pool.end_of, second))
        assert time.monotonic() - begun >= SETTLES


def test_a_pool_can_be_made_again_in_the_same_process() -> None:
    for _ in range(3):
        with driven(1, nothing) as pool:
            assert isinstance(pool, DrivenPool)
            pool.submit()
            pool.until(lambda: not len(pool.pool))


def test_sigterm_has_a_body_clean_up_and_its_job_is_lost() -> None:
    gate = Gate()

    def body(_: bytes) -> bytes:
        try:
            gate.wait()
        finally:
            gate[1] += 1
        return b""

    with driven(1, body) as pool:
        job = pool.submit()
        pool.until(lambda: pool.of(Started))
        pool.pool.terminate(job, signal.SIGTERM)
        pool.until(lambda: pool.end_of(job))
        (lost,) = pool.of(Lost)
        assert (lost.status, lost.why) == (signal.SIGTERM, "terminated")
        assert gate[1] == 1


def test_sigterm_ends_an_idle_child_and_loses_nothing() -> None:
    with driven(2, nothing) as pool:
        stop = threading.Event()

        def end_some() -> None:
            while not stop.wait(0.01):
                for child in list(pool.pool.processes.values()):
                    with suppress(ProcessLookupError):
                        child.send(signal.SIGTERM)

        pool.submit()
        thread = threading.Thread(target=end_some)
        thread.start()
        for _ in range(1000):
            pool.submit()
            pool.turn(0.0005)
        stop.set()
        thread.join()
        pool.until(lambda: not len(pool.pool))
        assert len(pool.of(Ended)) + len(pool.of(Lost)) == 1001


def test_a_body_that_will_not_be_ended_ends_and_its_child_leaves() -> None:
    def body(_: bytes) -> bytes:
        try:
            time.sleep(5)
        except SystemExit:
            return b"stubborn"
        return b""

    with driven(1, body) as pool:
        job = pool.submit()
        pool.until(lambda: pool.of(Started))
        (child,) = pool.pool.processes
        pool.pool.terminate(job, signal.SIGTERM)
        pool.until(lambda: pool.end_of(job))
        assert pool.of(Ended)[0].body == b"stubborn"
        pool.until(lambda: child not in pool.pool.processes)


def test_sigterm_ends_a_body_that_has_caught_its_soft_limit_or_an_earlier_sigterm() -> None:
    gate = Gate()

    def body(_: bytes) -> bytes:
        try:
            time.sleep(30)
        except (SoftLimitReached, SystemExit):
            gate[1] = 1
            time.sleep(30)
        return b""

    with driven(1, body) as pool:
        for terms, first in ((Terms(soft=0.1), None), (PLAIN, signal.SIGTERM)):
            gate[1] = 0
            job = pool.submit(b"", terms)
            pool.until(lambda: pool.of(Started) and pool.of(Started)[-1].job == job)  # noqa: B023
            if first is not None:
                pool.pool.terminate(job, first)
            pool.until(lambda: gate[1])
            pool.pool.terminate(job, signal.SIGTERM)
            pool.until(lambda: pool.end_of(job))  # noqa: B023
            assert pool.of(Lost)[-1].job == job


@pytest.mark.parametrize("final", [True, False])
def test_a_child_that_may_open_no_more_files_reports_an_end_and_leaves(final: bool) -> None:
    import resource

    def leak(size: bytes) -> bytes:
        if size != b"0":
            open_files = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
            with suppress(OSError):
                while os.open("/", os.O_RDONLY):
                    pass
        return bytes(int(size))

    troubles: list[str] = []
    with driven(
        1, Work(leak, returned=lambda _: final), trouble=lambda text, _: troubles.append(text)
    ) as pool:
        job = pool.submit(b"100000")
        pool.until(lambda: pool.end_of(job))
        found = pool.end_of(job)
        if final:
            assert isinstance(found, Ended)
            assert found.kind is Kind.UNREPORTED
        else:
            assert isinstance(found, Lost)
            assert found.why == NO_REPORT
        pool.until(lambda: troubles)
        assert "it may open no more files" in troubles[0]
        job = pool.submit(b"0")  # by a new child
        pool.until(lambda: pool.end_of(job))
        assert isinstance(pool.end_of(job), Ended)


def test_jobs_come_back_in_order() -> None:
    gate = Gate()
    with driven(1, lambda _: gate.wait()) as pool:
        pool.submit()
        pool.until(lambda: pool.of(Started))
        jobs = [pool.submit() for _ in range(20)]
        for job in jobs:
            pool.pool.take_back(job)
        pool.until(lambda: len(pool.of(Returned)) == 20)
        assert [event.job for event in pool.of(Returned)] == jobs
        gate.open()


class DiesBeforeItReports(Child):
    """A child that is killed when its body has returned, and a large result was sent, before the ring says so."""

    def _end(self, end: End) -> None:
        if end.kind is not Kind.REFUSED:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("size", "kind"), [(10, Kind.UNREPORTED), (100_000, Kind.RETURNED)])
def test_a_body_that_returned_is_not_lost_with_its_child(size: int, kind: Kind) -> None:
    with driven(1, echo, child=DiesBeforeItReports) as pool:
        job = pool.submit(bytes(size))
        pool.until(lambda: pool.end_of(job))
        (end,) = pool.of(Ended)
        assert end.kind is kind
        assert end.body == (bytes(size) if kind is Kind.RETURNED else b"")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_an_idle_child_that_is_told_to_end_says_that_it_leaves(signum: int) -> None:
    gate = Gate()
    with driven(1, Work(nothing, leave=partial(gate.__setitem__, 1))) as pool:
        for _ in range(2):  # it waits for its first job, and for one more
            (child,) = pool.pool.processes.values()
            child.send(signum)
            pool.until(lambda: gate[1] == signum)
            gate[1] = 0
            pool.submit()
            pool.until(lambda: not len(pool.pool))
        assert len(pool.of(Ended)) == 2


def test_a_child_that_stands_at_the_fence_can_be_told_to_end() -> None:
    gate = Gate()
    with driven(1, Work(nothing, leave=partial(gate.__setitem__, 1))) as pool:
        pool.pool.fence.open_until(0)
        job = pool.submit()
        (child,) = pool.pool.processes.values()
        pool.until(lambda: child.slot.read(child.pid))
        child.send(signal.SIGTERM)
        pool.until(lambda: child.pid not in pool.pool.processes)
        assert gate[1] == signal.SIGTERM
        pool.pool.fence.open_until(fences.OPEN)
        pool.until(lambda: pool.end_of(job))
        assert not pool.of(Lost)
