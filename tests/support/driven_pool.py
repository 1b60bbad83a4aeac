"""A pool of the kernel ``worker/pools/shared`` with a loop around it, and a memory of all that it told."""

from __future__ import annotations

import itertools
import mmap
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from flask_nightshift.worker.pools.shared import Event, Pool, Started, Terms, Work
from flask_nightshift.worker.pools.shared.events import PLAIN

E = TypeVar("E", bound=Event)


class DrivenPool:
    """``until`` runs the loop. ``events`` are all events so far, in order, unless ``tell`` hears them."""

    def __init__(
        self, size: int, work: Work, tell: Callable[[Event], object] | None = None, **options: Any
    ) -> None:
        self.events: list[Event] = []
        self.polls = 0
        self.pool = Pool(size, work, tell or self.events.append, **options)
        self._readable = select.epoll()
        self._readable.register(self.pool.fileno(), select.EPOLLIN)
        self._numbers = itertools.count(1)
        self.pool.start()

    def submit(self, payload: bytes = b"", terms: Terms = PLAIN) -> int:
        """Submit a job; its number."""
        job = next(self._numbers)
        self.pool.submit(job, payload, terms)
        return job

    def turn(self, most: float = 1.0) -> None:
        """One turn of the loop, of ``most`` seconds at the most."""
        wait = self.pool.poll()
        self.polls += 1
        self._readable.poll(most if wait is None else min(wait, most))

    def until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Run the loop until ``condition``; fail after ``seconds``."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s; events: {self.events[-20:]}"
            self.turn(0.01)

    def for_seconds(self, seconds: float) -> None:
        """Run the loop for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.turn(left)

    def ready(self) -> DrivenPool:
        """Wait until all children are ready."""
        self.until(
            lambda: (
                len(self.pool.processes) == self.pool.size
                and all(each.slot.is_up for each in self.pool.processes.values())
            )
        )
        return self

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def end_of(self, job: int) -> Event | None:
        """The event that ended ``job``."""
        ends = [event for event in self.events if event.job == job and is_end(event)]
        assert len(ends) < 2, ends
        return ends[0] if ends else None

    def close(self) -> None:
        """Kill what lives."""
        self.pool.kill()
        self.until(lambda: not self.pool.processes)
        self.pool.close()
        self._readable.close()


def is_end(event: Event) -> bool:
    """Whether no other event of the job follows."""
    return type(event).__name__ in ("Ended", "Returned", "Refused", "Lost")


@contextmanager
def driven(size: int, run: Callable[[bytes], bytes] | Work, **options: Any) -> Iterator[DrivenPool]:
    """A pool whose children are ready; killed in the end."""
    pool = DrivenPool(size, run if isinstance(run, Work) else Work(run), **options)
    try:
        yield pool.ready()
    finally:
        pool.close()


class Gate:
    """Shared memory for tests: bodies wait until it is open, and count themselves."""

    def __init__(self) -> None:
        self._memory = memoryview(mmap.mmap(-1, 8192)).cast("Q")

    @property
    def is_open(self) -> bool:
        return bool(self._memory[0])

    def open(self) -> None:
        self._memory[0] = 1

    def wait(self) -> bytes:
        """In a body: wait until it is open."""
        while not self.is_open:
            time.sleep(0.001)
        return b""

    def __getitem__(self, job: int) -> int:
        return self._memory[job]

    def __setitem__(self, job: int, value: int) -> None:
        self._memory[job] = value


__all__ = ["DrivenPool", "Gate", "Started", "driven", "is_end"]
