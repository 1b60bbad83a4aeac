"""The pool ``gevent``: each job is run by one greenlet, or comes back, and a full pool blocks nobody."""

from __future__ import annotations

from typing import Any

import pytest
from celery.worker.state import revoked

from flask_nightshift.worker.pools.greenlet_pool import JobGreenlets

gevent: Any = pytest.importorskip("gevent")
event: Any = pytest.importorskip("gevent.event")


class Jobs:
    """Jobs of a pool with two places; each runs until ``release`` is set."""

    def __init__(self) -> None:
        self.pool = JobGreenlets(2)
        self.pool.start()
        self.release = event.Event()
        self.begun: list[str] = []
        self.ended: list[Any] = []
        self.back: list[str] = []

    def add(self, *names: str) -> None:
        for name in names:
            self._add(name)
        gevent.sleep(0)

    def _add(self, name: str) -> None:
        def run() -> str:
            self.release.wait(10)
            return name

        self.pool.apply_async(
            run,
            callback=self.ended.append,
            accept_callback=lambda *_: self.begun.append(name),
            return_callback=lambda: self.back.append(name),
            correlation_id=name,
            stamps=None,
            timeout=0,
        )

    def end(self) -> None:
        """Let all jobs end."""
        self.release.set()
        while self.pool.unstarted:
            gevent.sleep(0.001)
        self.pool.stop()


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


def test_as_many_run_as_there_are_places_and_the_others_follow_in_order(jobs: Jobs) -> None:
    jobs.add(*"abcde")
    assert (jobs.begun, jobs.pool.unstarted) == (["a", "b"], 3)
    jobs.end()
    assert jobs.begun == list("abcde")
    assert sorted(jobs.ended) == list("abcde")


def test_what_no_greenlet_has_begun_comes_back_in_order(jobs: Jobs) -> None:
    jobs.add(*"abcd")
    jobs.pool.take_back_unstarted()
    assert (jobs.back, jobs.pool.unstarted) == (["c", "d"], 0)
    jobs.add("e")
    jobs.end()
    assert jobs.begun == ["a", "b", "e"]


def test_a_job_that_was_revoked_while_it_waited_comes_back(jobs: Jobs) -> None:
    jobs.add(*"abcd")
    revoked.add("c")
    try:
        jobs.end()
    finally:
        revoked.discard("c")
    assert (jobs.begun, jobs.back) == (["a", "b", "d"], ["c"])


def test_a_larger_pool_begins_more_and_a_smaller_one_fewer(jobs: Jobs) -> None:
    jobs.add(*"abcdefgh")
    jobs.pool.grow(2)
    gevent.sleep(0)
    assert jobs.begun == list("abcd")
    jobs.pool.shrink(3)
    jobs.release.set()
    jobs.release = event.Event()  # those that begin from now on stay
    gevent.sleep(0.01)
    assert jobs.begun == list("abcde")
    assert jobs.pool.num_processes == 1
    jobs.end()
    assert jobs.begun == list("abcdefgh")


def test_a_killed_greenlet_frees_its_place(jobs: Jobs) -> None:
    jobs.add(*"abc")
    jobs.pool.terminate_job(next(iter(jobs.pool._pool_map)))
    gevent.sleep(0.01)
    assert jobs.begun == ["a", "b", "c"]
    jobs.end()


def test_when_it_closes_what_waits_comes_back_and_nothing_more_begins(jobs: Jobs) -> None:
    jobs.add(*"abc")
    jobs.pool.close()
    jobs.add("d")
    jobs.end()
    assert (jobs.begun, jobs.back) == (["a", "b"], ["c"])


def test_after_a_lost_connection_nothing_that_waited_begins(jobs: Jobs) -> None:
    jobs.add(*"abc")
    jobs.pool.flush()
    jobs.end()
    assert (jobs.begun, jobs.back) == (["a", "b"], [])
