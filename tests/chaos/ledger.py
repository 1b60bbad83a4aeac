"""The ledger of the jobs themselves: one line when an attempt starts, one when it ends.

A line is one ``write`` to a file opened for appending. So lines of several processes do not interleave, and lines
written before a SIGKILL stay.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(slots=True)
class Run:
    """One attempt of a job in one process. Times are wall clock, in seconds; ``worker`` is its main process."""

    job: str
    attempt: int
    worker: int
    pid: int
    started: float
    ended: float | None = None
    finished: bool = False
    """Whether the body came to its end without an exception."""


@contextlib.contextmanager
def recorded(path: str, job: str, attempt: int) -> Iterator[None]:
    """Write the start now, and at the end ``finish``, or ``fail`` when the block raises."""
    ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    who = f"{job} {attempt} {os.getsid(0)} {os.getpid()}"  # each worker's main process leads a session
    try:
        _write(ledger, "start", who)
        try:
            yield
        except BaseException:
            _write(ledger, "fail", who)
            raise
        _write(ledger, "finish", who)
    finally:
        os.close(ledger)


def note_dead(path: str, job: str) -> None:
    """Record that ``job`` failed finally, for stock Celery, which keeps no dead letters."""
    ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    _write(ledger, "dead", f"{job} 0 0 0")
    os.close(ledger)


def _write(ledger: int, event: str, who: str) -> None:
    os.write(ledger, f"{event} {who} {time.time():.6f}\n".encode())


class Book:
    """The ledger as read so far; ``refresh()`` reads new lines. It begins at the current end of the file."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("rb")
        self._file.seek(0, os.SEEK_END)
        self._rest = b""
        self._open: dict[tuple[str, int, int], Run] = {}
        self._by_job: dict[str, list[Run]] = defaultdict(list)
        self.runs: list[Run] = []
        self.finished: set[str] = set()
        self.given_up: set[str] = set()

    def refresh(self) -> Book:
        """Read the lines that are complete."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            self._enter(*line.decode().split())
        return self

    def _enter(self, event: str, job: str, attempt: str, worker: str, pid: str, at: str) -> None:
        if event == "dead":
            self.given_up.add(job)
            return
        key = (job, int(attempt), int(pid))
        if event == "start":
            run = Run(job, int(attempt), int(worker), int(pid), float(at))
            self.runs.append(run)
            self._by_job[job].append(run)
            self._open[key] = run
        elif key in self._open:
            run = self._open.pop(key)
            run.ended, run.finished = float(at), event == "finish"
            if run.finished:
                self.finished.add(job)

    def of(self, job: str) -> list[Run]:
        """The runs of one job, in the order in which they started."""
        return self._by_job.get(job, [])

    def in_hand(self, worker: int, pid: int | None = None) -> list[Run]:
        """The runs that have started in a worker (or in one of its children) and not ended."""
        mine = [run for run in self._open.values() if run.worker == worker and pid in (None, run.pid)]
        return [run for run in mine if psutil.pid_exists(run.pid)]

    def started_since(self, moment: float) -> bool:
        """Whether anything has started after ``moment``."""
        return bool(self.runs) and self.runs[-1].started > moment

    def close(self) -> None:
        """Close the file."""
        self._file.close()
