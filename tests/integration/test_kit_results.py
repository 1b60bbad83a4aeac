"""The test kit: whoever waits for a result has the jobs run, and a body that lets time pass reaches its time limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import chain, chord, group
from celery.exceptions import SoftTimeLimitExceeded
from celery.exceptions import TimeoutError as NotThereYet
from celery.result import AsyncResult, allow_join_result
from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.testing import in_memory


class Kit:
    """The kit, and what bodies note."""

    def __init__(self, app: Flask, jobs: Nightshift) -> None:
        self.app, self.noted = app, list[str]()
        self.kit: Any = None

        @jobs.task(name="kit.add", ignore_result=False)
        def add(a: int, b: int) -> int:
            return a + b

        @jobs.task(name="kit.total", ignore_result=False)
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @jobs.task(name="kit.fails", ignore_result=False, max_retries=0)
        def fails() -> None:
            raise ValueError("no")

        @jobs.task(name="kit.waits", ignore_result=False)
        def waits() -> int:
            with pytest.raises(RuntimeError, match="within a task"):
                add.delay(1, 1).get()
            with allow_join_result():
                return add.delay(1, 1).get()

        @jobs.task(name="kit.slow", soft_time_limit=20, time_limit=30, max_retries=1)
        def slow(after: str) -> None:
            try:
                self.kit.travel(seconds=25)
            except SoftTimeLimitExceeded:
                self.noted.append("soft")
                if after == "raises":
                    raise
                if after == "goes on":
                    self.linger()

        @jobs.task(name="kit.coroutine", soft_time_limit=20, time_limit=30, max_retries=0)
        async def coroutine(after: str) -> None:
            try:
                self.kit.travel(seconds=25)
                self.noted.append("until the next await")
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                self.noted.append("cancelled")
                if after == "raises":
                    raise
                self.kit.travel(seconds=25)
                await asyncio.sleep(0)
                self.noted.append("never")

        self.add, self.total, self.fails, self.waits = add, total, fails, waits
        self.slow, self.coroutine = slow, coroutine

    def linger(self) -> None:
        """What a body does that ignores its soft limit."""
        self.kit.travel(seconds=9)
        self.noted.append("9 s more")
        try:
            self.kit.travel(minutes=5)
        except Exception:  # noqa: BLE001 - the hard limit is none
            self.noted.append("never")
        finally:
            self.noted.append("finally")

    def attempts(self, task: Any, after: str) -> list[str]:
        """How the attempts of a job ended."""
        task.delay(after)
        return [f"{each.outcome} {each.error}" for each in self.kit.drain(delayed=True)]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    app = Flask("kit", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = "redis://127.0.0.1:1"
    made = Kit(app, Nightshift(app))
    with app.app_context(), in_memory(app) as made.kit:
        yield made


def test_get_runs_the_jobs(kit: Kit) -> None:
    kit.add.delay(0, 0)
    assert kit.add.delay(1, 2).get() == 3
    assert [job.args for job in kit.kit.ran] == [[0, 0], [1, 2]], "in their order, as a worker does"
    assert group(kit.add.s(1, 1), kit.add.s(2, 2)).delay().get(timeout=5) == [2, 4]
    assert chain(kit.add.s(1, 1), kit.add.s(2)).delay().get() == 4
    assert chord([kit.add.s(1, 1), kit.add.s(2, 2)], kit.total.s()).delay().get() == 6
    with pytest.raises(ValueError, match="no"):
        kit.fails.delay().get()
    assert kit.waits.delay().get() == 2


def test_aget_runs_them_too(kit: Kit) -> None:
    async def view() -> list[int]:
        one = await kit.add.adelay(1, 2)
        both = await group(kit.add.s(1, 1), kit.add.s(2, 2)).adelay()
        return [await one.aget(timeout=5), *await both.aget()]

    assert asyncio.run(view()) == [3, 2, 4]


@pytest.mark.parametrize(("timeout", "error"), [(None, AssertionError), (5, NotThereYet)])
def test_get_says_what_a_job_waits_for(kit: Kit, timeout: float | None, error: type[Exception]) -> None:
    later = kit.add.apply_async((1, 1), countdown=3600)
    with pytest.raises(error, match=r"kit\.add\(1, 1\) in the queue 'celery', due in 1:00:00: let time pass"):
        later.get(timeout=timeout)
    kit.kit.travel(hours=1)
    assert later.get(timeout=timeout) == 2
    with pytest.raises(error, match="no job has the id 'nobody'"):
        AsyncResult("nobody").get(timeout=timeout)
    dropped = kit.add.apply_async((1, 1), ignore_result=True)
    with pytest.raises(error, match=r"not kept\. kit\.add\(1, 1\) succeeded"):
        AsyncResult(dropped.id).get(timeout=timeout)
    assert dropped.get() is None


def test_a_body_that_lets_time_pass_reaches_its_limits(kit: Kit) -> None:
    assert kit.attempts(kit.slow, "returns") == ["succeeded None"]
    soft, hard = "SoftTimeLimitExceeded()", "the hard time limit of 30 s was reached"
    raised = kit.attempts(kit.slow, "raises")
    assert [each.split()[0] for each in raised] == ["retried", "dead"]
    assert all(each.endswith(soft) for each in raised)
    kit.noted.clear()
    killed = kit.attempts(kit.slow, "goes on")
    assert [each.split()[0] for each in killed] == ["retried", "dead"]
    assert all(each.endswith(hard) for each in killed)
    assert kit.noted == ["soft", "9 s more", "finally"] * 2
    kit.slow.delay("goes on")
    with pytest.raises(TimeLimitExceeded):
        kit.kit.drain(raise_errors=True)


def test_a_coroutine_that_lets_time_pass_is_cancelled(kit: Kit) -> None:
    (raised,) = kit.attempts(kit.coroutine, "raises")
    assert raised.startswith("dead")
    assert "SoftTimeLimitExceeded" in raised
    (abandoned,) = kit.attempts(kit.coroutine, "goes on")
    assert abandoned.startswith("dead")
    assert ".TimeLimitExceeded" in abandoned
    assert kit.noted == ["until the next await", "cancelled"] * 2


def test_time_that_passes_between_jobs_reaches_no_limit(kit: Kit) -> None:
    kit.kit.travel(hours=1)
    kit.slow.apply_async(("returns",), soft_time_limit=60, time_limit=90)
    assert [each.outcome for each in kit.kit.drain()] == ["succeeded"]
    assert kit.noted == []
