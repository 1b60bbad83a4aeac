"""The pool of one queue on a system that lacks something: files, buffers, or the ends of children."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from driven_pool import DrivenPool, Gate, driven
from flask_nightshift.worker.pools.shared import NO_REPORT, Ended, Kind, Lost, Refused, Started, Work, support
from flask_nightshift.worker.pools.shared.process import UNKNOWN

LARGE = 300_000
"""Bytes of a message that fits into no datagram."""


def die(_: bytes) -> bytes:
    os._exit(3)


@contextmanager
def limited(limit: int, soft: int) -> Iterator[None]:
    """Within the block, this process has the soft ``limit``."""
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(limit, before)


def free_descriptor() -> int:
    """The lowest number that is free, so a soft limit of as much lets this process open nothing more."""
    fd = os.dup(0)
    os.close(fd)
    return fd


def wait_for_all(*_: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


@pytest.fixture(params=[signal.SIG_IGN, wait_for_all], ids=["ignored", "waited for elsewhere"])
def ends_of_children(request: pytest.FixtureRequest) -> Iterator[None]:
    """SIGCHLD is ignored, as whoever starts a worker may have it, or a library waits for all children."""
    before = signal.signal(signal.SIGCHLD, request.param)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("ends_of_children")
def test_a_child_whose_end_nobody_can_tell_is_lost_and_replaced() -> None:
    with driven(2, lambda job: job and die(job)) as pool:
        job = pool.submit(b"die")
        pool.until(lambda: pool.end_of(job))
        (lost,) = pool.of(Lost)
        assert lost.status in (UNKNOWN, 3)  # with a handler, either may come first
        pool.ready()
        job = pool.submit()
        pool.until(lambda: pool.end_of(job))
        assert pool.of(Ended)


@pytest.mark.usefixtures("ends_of_children")
def test_children_are_stopped_and_shrunk_where_nobody_can_tell_their_ends() -> None:
    gate = Gate()
    with driven(2, lambda _: gate.wait()) as pool:
        job = pool.submit()
        pool.until(lambda: pool.of(Started))
        pool.pool.terminate(job)
        pool.until(lambda: pool.end_of(job))
        assert [lost.why for lost in pool.of(Lost)] == ["terminated"]
        pool.ready()
        pool.pool.shrink(2)
        pool.until(lambda: not pool.pool.processes)


@pytest.mark.parametrize("final", [True, False])
def test_a_large_report_that_the_parent_cannot_receive(final: bool) -> None:
    """A job that has succeeded has ended; one that has failed is lost, because it may have to run again."""
    gate = Gate()

    def body(_: bytes) -> bytes:
        gate.wait()
        return bytes(LARGE)

    with driven(1, Work(body, returned=lambda _: final)) as pool:
        job = pool.submit()
        pool.until(lambda: pool.of(Started))
        with limited(resource.RLIMIT_NOFILE, free_descriptor()):
            gate.open()
            pool.until(lambda: pool.end_of(job))
        end = pool.end_of(job)
        if final:
            assert isinstance(end, Ended)
            assert end.kind is Kind.UNREPORTED
        else:
            assert isinstance(end, Lost)
            assert end.why == NO_REPORT
        job = pool.submit()
        pool.until(lambda: pool.end_of(job))
        assert len(pool.pool.processes) == 1


def test_a_job_that_the_system_never_takes_is_refused_and_holds_up_no_other() -> None:
    with limited(resource.RLIMIT_FSIZE, LARGE // 2), driven(1, lambda job: b"") as pool:
        before, large, after = pool.submit(), pool.submit(bytes(LARGE)), pool.submit()
        pool.until(lambda: not len(pool.pool))
        assert {end.job for end in pool.of(Ended)} == {before, after}
        (refused,) = pool.of(Refused)
        assert refused.job == large
        assert "File too large" in refused.why


def test_where_files_are_limited_in_size_celerys_pool_runs_the_jobs() -> None:
    look: Callable[[], bool] = support.supported.__wrapped__
    assert look()
    with limited(resource.RLIMIT_FSIZE, 1_000_000_000):
        assert not look()


@pytest.mark.parametrize("size", [100, 3000, 20_000, LARGE])
def test_messages_larger_than_the_send_buffer_arrive(size: int) -> None:
    with driven(2, lambda job: b"%d" % len(job)) as pool:
        _small_buffer(pool)
        for _ in range(30):
            pool.submit(bytes(size))
        pool.until(lambda: not len(pool.pool))
        assert [end.body for end in pool.of(Ended)] == [b"%d" % size] * 30


def _small_buffer(pool: DrivenPool) -> None:
    into: Any = pool.pool._queue._into
    into.setsockopt(1, 7, 1)  # SOL_SOCKET, SO_SNDBUF: as small as may be
