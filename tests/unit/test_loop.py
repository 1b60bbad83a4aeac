"""The thread that repeats some work: which errors it survives, how it backs off, when it ends."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from children import fork, join
from flask_nightshift.background.loop import Backoff, Loop, Work
from flask_nightshift.errors import DatabaseUnavailable
from servers import wait_for

NAME = "nightshift-of-a-test"
SOON = Backoff(0.02, 0.02)


class Diary(Work):
    """Records events in ``told``; a turn raises or returns the next of ``outcomes``."""

    def __init__(
        self, *outcomes: float | Exception | None, backoff: Backoff = SOON, lingers: bool = True
    ) -> None:
        self.outcomes = list(outcomes)
        self.told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.loop = Loop(self, NAME, backoff, lingers=lingers)

    def turn(self) -> float | None:
        self.told.put("turn")
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def failed(self) -> None:
        self.told.put("failed")

    def paused(self, why: object) -> None:
        self.told.put(f"paused: {why}")

    def resumed(self) -> None:
        self.told.put("resumed")

    def next(self, count: int) -> list[str]:
        return [self.told.get(timeout=10) for _ in range(count)]


@contextmanager
def running(diary: Diary) -> Iterator[Diary]:
    diary.loop.start()
    try:
        yield diary
    finally:
        diary.loop.stop()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


class TestOutage:
    def test_it_is_reported_once_at_its_beginning_and_once_at_its_end(self) -> None:
        away = DatabaseUnavailable("gone")
        with running(Diary(away, away, away, None)) as diary:
            assert diary.next(6) == ["turn", "paused: gone", "turn", "turn", "turn", "resumed"]
            assert not diary.loop.away

    def test_any_other_error_is_survived_and_no_outage(self) -> None:
        with running(Diary(ValueError(), ValueError(), None)) as diary:
            assert diary.next(5) == ["turn", "failed", "turn", "failed", "turn"]

    def test_wake_waits_for_the_next_try_and_hurry_does_not(self) -> None:
        with running(Diary(DatabaseUnavailable("gone"), backoff=Backoff(60, 60))) as diary:
            assert diary.next(2) == ["turn", "paused: gone"]
            diary.loop.wake()
            with pytest.raises(queue.Empty):
                diary.told.get(timeout=0.1)
            diary.loop.hurry()
            assert diary.next(2) == ["turn", "resumed"]

    def test_the_wait_doubles_up_to_its_limit_and_jitter_only_shortens_it(self) -> None:
        backoff = Backoff(first=1.0, most=5.0)
        assert [backoff.seconds(failures, lambda: 0.0) for failures in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]
        assert backoff.seconds(3, lambda: 0.5) == 3
        assert 2 <= backoff.seconds(3) <= 4


class TestTurns:
    def test_a_turn_says_when_the_next_one_is_due(self) -> None:
        with running(Diary(0.01, 0.0, 60.0)) as diary:
            assert diary.next(3) == ["turn"] * 3
            assert diary.told.empty()
            diary.loop.wake(after=0.05)
            assert diary.next(1) == ["turn"]

    def test_waking_starts_the_thread(self) -> None:
        diary = Diary()
        assert not diary.loop.alive
        diary.loop.wake()
        assert diary.next(1) == ["turn"]
        diary.loop.stop()

    def test_one_that_does_not_linger_ends_when_nothing_is_due_and_starts_again(self) -> None:
        diary = Diary(lingers=False)
        for _ in range(2):
            diary.loop.wake()
            assert diary.next(1) == ["turn"]
            wait_for(lambda: not diary.loop.alive, 10, "the thread lingers")


class TestEnd:
    def test_stopping_takes_no_further_turn_though_one_is_due(self) -> None:
        diary = Diary(*[0.01] * 10_000)
        diary.loop.start()
        diary.next(3)
        diary.loop.stop()
        assert not threads()

    def test_finishing_takes_the_turns_that_are_due(self) -> None:
        with running(Diary(60.0, 0.0, 0.0, None)) as diary:
            diary.next(1)
            diary.loop.stop(finish=True)
            assert diary.next(3) == ["turn"] * 3
            assert diary.told.empty()
            assert not threads()

    def test_finishing_ends_with_the_first_failure(self) -> None:
        away = DatabaseUnavailable("gone")
        with running(Diary(60.0, away, away)) as diary:
            diary.next(1)
            diary.loop.stop(finish=True)
            assert diary.next(2) == ["turn", "paused: gone"]
            assert not threads()

    def test_a_stopped_loop_can_be_started_again(self) -> None:
        diary = Diary()
        for _ in range(2):
            with running(diary):
                assert diary.next(1) == ["turn"]

    def test_it_ends_when_its_work_is_garbage(self) -> None:
        diary = Diary()
        diary.loop.start()
        diary.next(1)
        del diary
        gc.collect()
        wait_for(lambda: not threads(), 10, "the thread outlives its work")

    def test_work_that_is_due_is_done_although_nothing_else_refers_to_it(self) -> None:
        diary = Diary(0.2, None)
        told = diary.told
        diary.loop.start()
        del diary
        gc.collect()
        assert [told.get(timeout=10) for _ in range(2)] == ["turn", "turn"]
        wait_for(lambda: not threads(), 10, "the thread outlives its work")


class TestFork:
    def test_a_child_starts_fresh_whatever_the_parent_was_doing(self) -> None:
        with running(Diary(60.0)) as diary:
            diary.next(1)

            def child() -> None:
                assert not diary.loop.alive
                diary.loop.wake()
                assert diary.next(1) == ["turn"]
                diary.loop.stop()

            with diary.loop.changed:
                forked = fork(child)
            join(forked)
            assert len(threads()) == 1
