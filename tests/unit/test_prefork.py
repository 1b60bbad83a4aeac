"""The pool ``prefork`` as Celery's worker uses it, with a real event loop and real children, and no broker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import billiard
import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError
from celery import Celery, signals
from celery.platforms import EX_FAILURE
from celery.worker import state
from kombu.asynchronous import Hub
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from flask_nightshift.domain.look_ahead import MEASURED, REMEMBERED
from flask_nightshift.worker.attempt import Report
from flask_nightshift.worker.pools import revoked, wire, worker_process
from flask_nightshift.worker.pools.ahead import MOST, Ahead
from flask_nightshift.worker.pools.places import Places
from flask_nightshift.worker.pools.prefork import JobPool
from flask_nightshift.worker.pools.shared import staff, supported
from flask_nightshift.worker.pools.shared.ring import Ring

linux = pytest.mark.skipif(not supported(), reason="the pool needs Linux")


class Turned:
    """A pool in an event loop; ``told`` is what each call was told, by its name."""

    def __init__(self, size: int, **options: Any) -> None:
        app = Celery("test", set_as_current=False)
        app.conf.worker_proc_alive_timeout = 30  # a child of a process of many tests begins slowly
        self.semaphore = LaxBoundedSemaphore(size)
        self.pool = JobPool(size, app=app, initargs=(app, "worker@test"), semaphore=self.semaphore, **options)
        self.hub = Hub()
        self.told: dict[str, list[tuple[str, Any]]] = {}
        self.handed: dict[str, Any] = {}
        self.pool.start()
        self.pool.register_with_event_loop(self.hub)

    def call(self, name: str, target: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Have ``target`` called as soon as there is a place."""
        told = self.told[name] = []

        def begin() -> None:
            self.handed[name] = self.pool.apply_async(
                target,
                args,
                callback=lambda returned: told.append(("returned", returned)),
                error_callback=lambda info: told.append(("failed", error_of(info))),
                accept_callback=lambda pid, _: told.append(("accepted", pid)),
                timeout_callback=lambda soft, seconds: told.append(("limit", (soft, seconds))),
                **options,
            )

        self.semaphore.acquire(begin)

    def words(self, name: str) -> list[str]:
        return [word for word, _ in self.told[name]]

    def until(self, condition: Callable[[], object], seconds: float = 40.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.told
            self.hub.call_later(0.01, lambda: None)
            self.hub.run_once()

    def end_of(self, name: str) -> tuple[str, Any]:
        """How the call ended."""
        self.until(lambda: {"returned", "failed"} & set(self.words(name)))
        return next(each for each in self.told[name] if each[0] in ("returned", "failed"))

    def pid_of(self, name: str) -> int:
        self.until(lambda: "accepted" in self.words(name))
        return next(pid for word, pid in self.told[name] if word == "accepted")

    def close(self) -> None:
        self.pool.terminate()
        self.hub.close()


def error_of(info: ExceptionInfo) -> BaseException:
    return getattr(info.exception, "exc", None) or info.exception


@pytest.fixture
def turned() -> Iterator[Callable[..., Turned]]:
    made: list[Turned] = []

    def make(size: int, **options: Any) -> Turned:
        made.append(Turned(size, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def attempt(**report: Any) -> Any:
    return 0, tuple(Report("succeeded", 0.5, representation="None", **report)), 0.5


def fail() -> None:
    raise ValueError("it fails")


def leave() -> None:
    raise SystemExit(3)


def hang_softly() -> str:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "told"
    return "not told"


def who() -> tuple[str, int, bool]:
    this: Any = billiard.current_process()
    return "", this.index, this.daemon


@linux
def test_a_call_returns_and_its_start_is_told_first(turned: Callable[..., Turned]) -> None:
    pool = turned(2)
    pool.call("sum", sum, [1, 2])
    assert pool.end_of("sum") == ("returned", 3)
    assert pool.words("sum") == ["accepted", "returned"]
    pool.call("large", bytes, 200_000)
    assert pool.end_of("large") == ("returned", bytes(200_000))
    for name in ("who", "again"):
        pool.call(name, who)
        assert pool.end_of(name)[1][1:] in ((0, True), (1, True))


@linux
def test_a_call_raises(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.call("fails", fail)
    word, error = pool.end_of("fails")
    assert (word, type(error), str(error)) == ("failed", ValueError, "it fails")
    pool.call("next", sum, [1])
    assert pool.end_of("next") == ("returned", 1)
    assert pool.pid_of("next") == pool.pid_of("fails")
    pool.call("exits", leave)
    assert isinstance(pool.end_of("exits")[1], SystemExit)
    pool.call("after", sum, [1])
    assert pool.end_of("after") == ("returned", 1)
    assert pool.pid_of("after") != pool.pid_of("exits"), "its child left"
    with pytest.raises(Exception, match="local object"):
        pool.pool.apply_async(lambda: None)


@linux
def test_limits(turned: Callable[..., Turned]) -> None:
    pool = turned(2, soft_timeout=0.2)
    pool.call("softly", hang_softly)
    pool.call("hard", time.sleep, 60, soft_timeout=50, timeout=0.3)
    assert pool.end_of("softly") == ("returned", "told")
    assert ("limit", (True, 0.2)) in pool.told["softly"]
    assert isinstance(pool.end_of("hard")[1], TimeLimitExceeded)
    assert pool.told["hard"][-1] == ("limit", (False, 0.3))
    pool.call("next", sum, [1])
    assert pool.end_of("next") == ("returned", 1)


@linux
def test_a_child_dies(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.call("killed", time.sleep, 60)
    os.kill(pool.pid_of("killed"), signal.SIGKILL)
    error = pool.end_of("killed")[1]
    assert isinstance(error, WorkerLostError)
    assert "signal 9 (SIGKILL)" in str(error)
    pool.call("next", sum, [1])
    assert pool.end_of("next") == ("returned", 1)


@linux
def test_a_call_is_terminated_before_it_starts_and_after(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.call("runs", time.sleep, 60)
    child = pool.pid_of("runs")
    pool.pool.options["semaphore"].release()  # a place more than there are children
    pool.call("waits", sum, [1])
    pool.handed["waits"].terminate(signal.SIGTERM)
    assert isinstance(pool.end_of("waits")[1], Terminated)
    assert pool.words("waits") == ["failed"]
    pool.pool.terminate_job(child, signal.SIGTERM)
    assert isinstance(pool.end_of("runs")[1], Terminated)


@linux
def test_a_lost_connection_drops_what_has_not_started(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.call("runs", time.sleep, 1)
    pool.pid_of("runs")
    pool.semaphore.clear()
    pool.call("waits", sum, [1])
    pool.semaphore.clear()
    pool.hub.reset()
    pool.pool.flush()
    assert pool.told["waits"] == []
    pool.pool.register_with_event_loop(pool.hub)
    assert pool.end_of("runs")[0] == "returned"
    assert pool.semaphore.value == 1
    pool.call("next", sum, [1])
    assert pool.end_of("next") == ("returned", 1)
    assert pool.told["waits"] == []


@linux
def test_a_limit_holds_while_there_is_no_connection(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.call("runs", time.sleep, 60, timeout=0.2)
    child = pool.pid_of("runs")
    pool.semaphore.clear()
    pool.hub.reset()
    pool.pool.flush()
    end = time.monotonic() + 20
    while child in pool.pool.info["processes"] and time.monotonic() < end:
        pool.pool.watch()
        time.sleep(0.01)
    assert child not in pool.pool.info["processes"]
    assert pool.words("runs") == ["accepted"]
    pool.pool.register_with_event_loop(pool.hub)
    assert isinstance(pool.end_of("runs")[1], TimeLimitExceeded)


@linux
def test_a_worker_whose_children_cannot_start_stops(
    turned: Callable[..., Turned], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(staff, "FAILED_START", 0.01)
    monkeypatch.setattr(state, "should_stop", None)
    monkeypatch.setattr(worker_process, "process_initializer", lambda *_: os._exit(3))
    pool = turned(2)
    pool.until(lambda: state.should_stop)
    assert state.should_stop == EX_FAILURE
    last = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "no child gets ready for jobs" in last[0].getMessage()
    assert "died before it was ready: exit code 3" in caplog.text


@linux
def test_a_revoked_stamp_concerns_what_has_not_started(
    turned: Callable[..., Turned], monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked_stamps: dict[str, list[str]] = {}
    monkeypatch.setattr(revoked, "revoked_stamps", revoked_stamps)
    pool = turned(1)
    back: list[str] = []
    pool.call("runs", time.sleep, 0.5, stamps={"of": "x"})
    pool.pid_of("runs")
    for name, value in {"it": ["y", "x"], "other": "y", "unstamped": None}.items():
        pool.pool.options["semaphore"].release()  # a place more than there are children
        stamps = value and {"of": value}
        pool.call(name, sum, [1], stamps=stamps, return_callback=partial(back.append, name))
    revoked_stamps["of"] = ["x"]
    for name in ("runs", "other", "unstamped"):
        assert pool.end_of(name)[0] == "returned"
    assert back == ["it"]
    assert pool.told["it"] == []


@linux
def test_nothing_starts_while_the_fence_is_closed(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.pool.starts_until = lambda: 0
    pool.call("waits", sum, [1])
    deadline = time.monotonic() + 0.3
    pool.until(lambda: time.monotonic() > deadline)
    assert pool.told["waits"] == []
    pool.pool.starts_until = lambda: 2**64 - 1
    assert pool.end_of("waits") == ("returned", 1)


@linux
def test_children_are_replaced_and_there_are_more_and_less_of_them(turned: Callable[..., Turned]) -> None:
    pool = turned(1, maxtasksperchild=2)
    pids = []
    for n in range(6):
        pool.call(f"call-{n}", os.getpid)
        pids.append(pool.end_of(f"call-{n}")[1])
    assert len(set(pids)) == 3
    pool.pool.grow(2)
    assert pool.pool.num_processes == 3
    for n in range(4):
        pool.call(f"long-{n}", time.sleep, 0.5)
    pool.until(lambda: sum("accepted" in pool.words(f"long-{n}") for n in range(4)) >= 3)
    pool.pool.shrink(2)
    pool.until(lambda: len(pool.pool.info["processes"]) == 1)
    for n in range(4):
        assert pool.end_of(f"long-{n}")[0] == "returned"
    assert pool.semaphore.value == 1
    before = set(pool.pool.info["processes"])
    pool.pool.restart()
    pool.until(lambda: before.isdisjoint(pool.pool.info["processes"]) and pool.pool.info["processes"])


@linux
def test_a_signal_is_sent_before_each_fork(turned: Callable[..., Turned]) -> None:
    senders: list[Any] = []
    with_signal = partial(lambda sender, **_: senders.append(sender))
    signals.worker_before_create_process.connect(with_signal)
    pool = turned(2)
    assert len(senders) == 2
    os.kill(next(iter(pool.pool.info["processes"])), signal.SIGKILL)
    pool.until(lambda: len(senders) == 3)


@linux
def test_it_stops_when_what_runs_has_ended(turned: Callable[..., Turned]) -> None:
    pool = turned(1)
    pool.call("runs", time.sleep, 0.5)
    pool.pid_of("runs")
    pool.call("waits", sum, [1])
    pool.pool.close()
    pool.pool.stop()
    assert pool.words("runs") == ["accepted", "returned"]
    assert pool.told["waits"] == []
    assert pool.pool.apply_async(sum, [[1]]) is None


@linux
def test_a_stop_within_a_turn_comes_after_it(
    turned: Callable[..., Turned], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """As by the signal handler of Celery's cold stop, which may interrupt whatever the pool does."""
    pool = turned(2)
    pool.call("runs", time.sleep, 0.5)
    pool.call("short", sum, [1])
    pool.pid_of("runs")
    take, stops = Ring.take, [pool.pool.stop]

    def interrupted(ring: Ring) -> Any:
        ends = take(ring)
        if ends and stops:
            stops.pop()()
        return ends

    monkeypatch.setattr(Ring, "take", interrupted)
    pool.call("waits", sum, [2])
    pool.until(lambda: not stops and pool.pool._kernel is None)
    assert pool.words("runs") == ["accepted", "returned"]
    assert pool.words("short") == ["accepted", "returned"]
    assert pool.pool.apply_async(sum, [[1]]) is None
    pool.hub.call_later(0.01, lambda: None)
    pool.hub.run_once()  # what it had asked of the loop does no harm
    assert not caplog.records


def test_a_plain_success_has_no_body() -> None:
    assert wire.call(wire.packed_call(attempt, (), None)) == b""
    assert wire.end_of(b"", 0.5) == (False, attempt())
    body = wire.call(wire.packed_call(attempt, (), {"result": "1"}))
    assert wire.is_final(body)
    assert wire.end_of(body, 9.0) == (False, attempt(result="1"))


def test_a_failed_attempt_is_not_final() -> None:
    assert not wire.is_final(wire.call(wire.packed_call(failed, (), None)))


def failed() -> Any:
    return 1, tuple(Report("failed", 0.5)), 0.5


def test_jobs_ahead_are_a_moment_of_work() -> None:
    ahead = Ahead()
    for _ in range(MEASURED - 1):
        ahead.ended(0.004)
    assert ahead.jobs(2) == 0, "too little is known"
    ahead.ended(0.004)
    assert ahead.jobs(2) == 10
    ahead.ended(10.0)
    assert ahead.jobs(2) == 0
    for _ in range(REMEMBERED):
        ahead.ended(0.00001)
    assert ahead.jobs(2) == 2 * MOST


def test_a_place_is_given_once() -> None:
    semaphore = LaxBoundedSemaphore(1)
    places, begun = Places(semaphore), list[int]()

    def begin(number: int) -> None:
        places.take()
        begun.append(number)

    for number in range(6):
        semaphore.acquire(begin, number)
    assert begun == [0]
    places.change(2)
    assert begun == [0, 1, 2]
    places.change(-2)
    places.free()
    places.free()
    assert begun == [0, 1, 2]
    places.free()
    assert begun == [0, 1, 2, 3]
