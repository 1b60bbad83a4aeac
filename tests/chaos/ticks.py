"""A system in which a job is due each second, and the account of its ticks: none may be missing, none come twice."""

from __future__ import annotations

import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clocks import WrongClock
from steerapp import EVERY
from system import Process, System

LATE = 40.0
"""Seconds after the end of a trial in which the ticks of the trial must have run."""


@dataclass(frozen=True)
class Account:
    """The ticks of one entry, by their due times in seconds. ``odd``: those that are on no multiple of the interval."""

    entry: str
    due: int
    missing: Sequence[float] = ()
    twice: Sequence[float] = ()
    odd: Sequence[float] = ()

    @property
    def broken(self) -> list[str]:
        """What is wrong."""
        found = {"missing": self.missing, "twice": self.twice, "at a wrong time": self.odd}
        return [
            f"{self.entry}: {len(at)} {what}: {' '.join(map(str, at))}" for what, at in found.items() if at
        ]


def account(entry: str, ran: Counter[float], end: float) -> Account:
    """Judge how often each tick due until ``end`` ran, from the first one."""
    every = EVERY[entry]
    due = sorted(at for at in ran if at <= end)
    if not due:
        return Account(entry, 0, missing=[end])
    first, steps = due[0], round((max(end, due[-1]) - due[0]) // every) + 1
    wanted = {round(first + step * every, 3) for step in range(steps)}
    return Account(
        entry,
        len(wanted),
        missing=sorted(wanted - set(due)),
        twice=[at for at in due if ran[at] > 1],
        odd=sorted(set(due) - wanted),
    )


@dataclass
class Ticks:
    """The system: a worker that runs the jobs, and Beats by their numbers."""

    folder: Path
    broker_url: str
    database_url: str
    worker_has_beat: bool = False
    beats: dict[int, Process] = field(default_factory=dict)
    clocks: dict[int, WrongClock] = field(default_factory=dict)
    started: int = 0

    def __post_init__(self) -> None:
        self.system = System(
            self.folder, self.broker_url, FLASK_APP="steerapp", NIGHTSHIFT_DATABASE_URL=self.database_url
        )
        options = ["--beat"] if self.worker_has_beat else []
        self.worker = self.system.worker("--pool", "solo", *options)

    def beat(self, number: int, *, clock: float | None = None, wait: bool = True) -> Process:
        """Start a Beat, whose clock is ``clock`` seconds ahead; None: with the machine's clock, or the one it had."""
        if clock is not None:
            self.clocks[number] = WrongClock(self.folder, f"beat{number}", clock)
        env = self.clocks[number].environment if number in self.clocks else {}
        self.started += 1
        command = [sys.executable, "-m", "flask", "jobs", "beat"]
        process = self.beats[number] = self.system._start(f"beat{number}-{self.started}", command, env)
        if wait:
            self.until_started(process)
        return process

    def until_started(self, process: Process) -> None:
        self.system.until(lambda: process.lines("beat.started"), 60, "Beat has not started")

    def ran(self, entry: str) -> Counter[float]:
        """How often each tick ran, by when it was due; without what a broker delivered again."""
        found: Counter[float] = Counter()
        for line in self.system.ledger.read_text().splitlines():
            job_id, who, *again = line.split()
            if who == entry:
                found[(uuid.UUID(job_id).int >> 80) / 1000] += 0 if again else 1
        return found

    def accounts(self) -> list[Account]:
        """Wait until the ticks of now have run, and judge all of them."""
        end = time.time()
        self.system.until(lambda: self._is_past(end), LATE, "the last ticks did not run")
        deadline = time.monotonic() + LATE
        while True:
            found = [
                account(entry, self.ran(entry), end) for entry in EVERY if self._may_have_run(entry, end)
            ]
            if not any(each.missing for each in found) or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def close(self) -> None:
        self.system.close()

    def _is_past(self, end: float) -> bool:
        return max(self.ran("second"), default=0.0) > end

    def _may_have_run(self, entry: str, end: float) -> bool:
        return any(at <= end for at in self.ran(entry))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines of ``event`` of all Beats."""
        return [line for process in self.system.processes for line in process.lines(event)]
