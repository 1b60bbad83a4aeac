"""The pool ``threads``: each job is run by one thread, or comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery.worker.state import revoked

from flask_nightshift.worker.pools.threads import JobThreads

PATIENCE = 10.0


@pytest.fixture
def pool() -> Iterator[JobThreads]:
    pool = JobThreads(2)
    pool.start()
    yield pool
    pool.close()
    pool.stop()


def until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


class Jobs:
    """Jobs of a pool; those named in ``blocked`` run until ``release`` is set."""

    def __init__(self, pool: JobThreads) -> None:
        self.pool = pool
        self.release = threading.Event()
        self.accepted: list[str] = []
        self.returned: list[Any] = []
        self.back: list[str] = []

    def add(self, name: str, *, blocked: bool = False) -> None:
        def run() -> str:
            if blocked:
                self.release.wait(PATIENCE)
            return name

        self.pool.apply_async(
            run,
            callback=self.returned.append,
            accept_callback=lambda *_: self.accepted.append(name),
            return_callback=lambda: self.back.append(name),
            correlation_id=name,
            announce=False,
            stamps=None,
        )

    def block(self) -> None:
        """Have a long job in each thread."""
        for name in ("first", "second"):
            self.add(name, blocked=True)
        until(lambda: sorted(self.accepted) == ["first", "second"])


@pytest.fixture
def jobs(pool: JobThreads) -> Iterator[Jobs]:
    jobs = Jobs(pool)
    yield jobs
    jobs.release.set()


def test_more_jobs_than_threads_run_in_order(pool: JobThreads) -> None:
    jobs = Jobs(pool)
    names = [str(number) for number in range(100)]
    for name in names:
        jobs.add(name)
    until(lambda: len(jobs.returned) == len(names))
    assert sorted(jobs.returned, key=int) == names
    assert jobs.back == []


def test_what_no_thread_has_begun_comes_back_in_order(pool: JobThreads, jobs: Jobs) -> None:
    jobs.block()
    for name in ("a", "b", "c"):
        jobs.add(name)
    assert pool.unstarted == 3
    pool.take_back_unstarted()
    assert (jobs.back, pool.unstarted) == (["a", "b", "c"], 0)
    jobs.release.set()
    until(lambda: len(jobs.returned) == 2)
    assert "a" not in jobs.accepted


def test_a_free_thread_begins_the_next_job_after_some_came_back(pool: JobThreads, jobs: Jobs) -> None:
    jobs.block()
    jobs.add("back")
    pool.take_back_unstarted()
    jobs.add("later")
    jobs.release.set()
    until(lambda: "later" in jobs.returned)
    assert jobs.back == ["back"]


def test_each_job_is_run_or_comes_back(pool: JobThreads) -> None:
    jobs = Jobs(pool)
    names = {str(number) for number in range(3000)}
    for name in names:
        jobs.add(name)
        if name.endswith("7"):
            pool.take_back_unstarted()
    until(lambda: len(jobs.returned) + len(jobs.back) >= len(names))
    assert not set(jobs.returned) & set(jobs.back)
    assert len(jobs.returned) + len(jobs.back) == len(names)


def test_a_job_that_was_revoked_while_it_waited_comes_back(pool: JobThreads, jobs: Jobs) -> None:
    jobs.block()
    jobs.add("revoked")
    jobs.add("other")
    revoked.add("revoked")
    try:
        jobs.release.set()
        until(lambda: "other" in jobs.returned)
        until(lambda: jobs.back == ["revoked"])
    finally:
        revoked.discard("revoked")
    assert "revoked" not in jobs.accepted


def test_an_error_of_a_callback_costs_no_thread(pool: JobThreads) -> None:
    jobs = Jobs(pool)

    def fail(*_: Any) -> None:
        raise SystemExit

    for _ in range(4):
        pool.apply_async(lambda: None, callback=fail)
    for name in ("a", "b"):
        jobs.add(name)
    until(lambda: sorted(jobs.returned) == ["a", "b"])


def test_when_it_closes_what_waits_comes_back_and_nothing_more_begins(jobs: Jobs, pool: JobThreads) -> None:
    jobs.block()
    jobs.add("waits")
    pool.close()
    jobs.add("late")
    jobs.release.set()
    until(lambda: len(jobs.returned) == 2)
    assert (jobs.back, pool.unstarted) == (["waits"], 0)


def test_after_a_lost_connection_nothing_that_waited_begins(pool: JobThreads, jobs: Jobs) -> None:
    jobs.block()
    jobs.add("waits")
    pool.flush()
    jobs.add("new")
    jobs.release.set()
    until(lambda: "new" in jobs.returned)
    assert "waits" not in [*jobs.accepted, *jobs.back]
