"""The faults of Beats, each carried out on a running system for some time."""

from __future__ import annotations

import enum
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .ticks import Account, Ticks

HOUR = 3600.0
APART = 40.0
"""Seconds between two Beats' clocks."""


class BeatFault(enum.Enum):
    """The value is its name in ``FAULTS=`` and in the table."""

    BEAT_KILL = "beat-kill"
    BEAT_FREEZE = "beat-freeze"
    BEATS_AWAY = "beats-away"
    BEATS_BROKER_AWAY = "beats-broker-away"
    CLOCKS_APART = "clocks-apart"
    CLOCK_BACK = "clock-back"


@dataclass(frozen=True)
class BeatOutcome:
    """The result of a trial; ``hits``: how often the fault was injected."""

    fault: BeatFault
    hits: int
    accounts: list[Account]
    again: int
    seconds: float

    @property
    def broken(self) -> list[str]:
        """The guarantees that did not hold."""
        return [text for each in self.accounts for text in each.broken]


@dataclass
class BeatTrial:
    """One trial of ``seconds`` on ``ticks``, a new system on the broker ``server``."""

    ticks: Ticks
    server: Any
    seconds: float
    seed: int = 1

    def run(self, fault: BeatFault) -> BeatOutcome:
        """Run two Beats, inject the fault, and account for every tick."""
        began = time.monotonic()
        self._chance = random.Random(self.seed)
        for number in (1, 2):
            self.ticks.beat(number, clock=_CLOCKS.get(fault) if number == 1 else None, wait=False)
        for process in list(self.ticks.beats.values()):
            self.ticks.until_started(process)
        self._until = time.monotonic() + self.seconds
        hits = INJECT[fault](self)
        left = self._until - time.monotonic()
        time.sleep(max(left, 3.0))
        accounts = self.ticks.accounts()
        again = self.ticks.system.ledger.read_text().count(" again")
        return BeatOutcome(fault, hits, accounts, again, time.monotonic() - began)

    @property
    def _goes_on(self) -> bool:
        return time.monotonic() < self._until

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self._chance.uniform(least, most))

    def kill(self) -> int:
        """SIGKILL to one of them at a random moment; another one takes its place; again and again"""
        hits = 0
        while self._goes_on:
            self._pause(0.0, 2.0)
            number = self._chance.choice(sorted(self.ticks.beats))
            self.ticks.beats[number].kill_tree()
            self.ticks.beat(number)
            hits += 1
        return hits

    def freeze(self) -> int:
        """SIGSTOP to one of them for 2 to 15 s, by turns"""
        hits = 0
        while self._goes_on:
            self._pause(0.0, 2.0)
            process = self.ticks.beats[1 + hits % 2]
            process.signal(signal.SIGSTOP)
            self._pause(2.0, 15.0)
            process.signal(signal.SIGCONT)
            hits += 1
        return hits

    def away(self) -> int:
        """SIGKILL to both; after 2 to 14 s both start again (`catch_up="all"`)"""
        hits = 0
        while self._goes_on:
            self._pause(1.0, 4.0)
            for process in self.ticks.beats.values():
                process.kill_tree()
            self._pause(2.0, 14.0)
            for number in sorted(self.ticks.beats):
                self.ticks.beat(number, wait=False)
            for process in list(self.ticks.beats.values()):
                self.ticks.until_started(process)
            hits += 1
        return hits

    def broker_away(self) -> int:
        """the broker stops, by turns in order and by SIGKILL, for 2 to 14 s"""
        hits = 0
        while self._goes_on:
            self._pause(1.0, 4.0)
            self.server.kill() if hits % 2 else self.server.stop()
            self._pause(2.0, 14.0)
            self.server.ensure()
            hits += 1
        return hits

    def apart(self) -> int:
        """the clock of one is 40 s ahead of the other's"""
        time.sleep(self.seconds)  # a hit is a Beat that notices it
        return len(self.ticks.lines("beat.clock_differs"))

    def clock_back(self) -> int:
        """the clock of one is set back an hour and then set right, again and again"""
        hits = 0
        while self._goes_on:
            self._pause(2.0, 4.0)
            self.ticks.clocks[1].set(-HOUR)
            self._pause(4.0, 8.0)
            self.ticks.clocks[1].set(0.0)
            hits += 1
        return hits


_CLOCKS = {BeatFault.CLOCKS_APART: APART, BeatFault.CLOCK_BACK: 0.0}
"""The clock of the first Beat, in seconds ahead."""
INJECT: dict[BeatFault, Callable[[BeatTrial], int]] = {
    BeatFault.BEAT_KILL: BeatTrial.kill,
    BeatFault.BEAT_FREEZE: BeatTrial.freeze,
    BeatFault.BEATS_AWAY: BeatTrial.away,
    BeatFault.BEATS_BROKER_AWAY: BeatTrial.broker_away,
    BeatFault.CLOCKS_APART: BeatTrial.apart,
    BeatFault.CLOCK_BACK: BeatTrial.clock_back,
}
"""How each is injected; docs/how-to/chaos.md describes it with the docstring."""
