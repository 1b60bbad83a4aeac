"""The account of each job, in a model in which every process can stand still or die between any two of its steps.

The model's memory is what ``slot``, ``ring``, ``tickets`` and ``queue`` are for real; the accounts are the real ones.
"""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random

import pytest

from flask_nightshift.worker.pools.shared.accounts import PATIENCE, SETTLES, Accounts
from flask_nightshift.worker.pools.shared.events import Ended, Event, Lost, Returned, Started
from flask_nightshift.worker.pools.shared.ring import End, Kind
from flask_nightshift.worker.pools.shared.slot import Mark, Phase

EPISODES = int(os.environ.get("POOL_EPISODES", "1000"))
"""Random histories of a pool per test."""


@dataclass
class Child:
    """One child: ``at`` is the step that it does next. Its slot and ring outlive it."""

    pid: int
    at: str = "take"
    alive: bool = True
    job: int = 0
    ticket: int = 0
    slot: tuple[int, Phase] | None = None
    ring: list[End] = field(default_factory=list)

    def mark(self) -> Mark | None:
        if self.slot is None:
            return None
        ticket, phase = self.slot
        return Mark(self.pid, ticket, phase, 1_000_000_000 if phase >= Phase.RUNS else 0)


@dataclass
class Look:
    """A look that the parent has begun: it has the slots, and not yet the rings."""

    seen: float
    head: float
    marks: list[Mark]
    dead: Child | None


class Model:
    """A pool of three children; ``act`` does one thing that can happen next."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 100.0
        self.valid: set[int] = set()
        self.socket: deque[tuple[int, int]] = deque()
        self.children: list[Child] = []
        self.pids = self.jobs = self.tickets = 0
        self.accounts = Accounts(self.valid.discard, lambda: self.now)
        self.look: Look | None = None
        self.started: Counter[int] = Counter()
        self.returned: Counter[int] = Counter()
        self.died_with: set[int] = set()
        self.told: dict[int, Event] = {}
        for _ in range(3):
            self.fork()

    def act(self) -> None:
        """The children go on most of the time."""
        self.chance.choice(
            [self.any_child_goes_on] * 8
            + [self.a_child_dies, self.time_passes, self.time_passes]
            + ([self.look_to_the_end] * 4 if self.look else [self.submit, self.take_back, self.take_all_back])
            + ([] if self.look else [self.begin_to_look] * 4)
        )()
        assert all(times <= 1 for times in self.started.values()), "a job ran twice"
        for job, event in self.told.items():
            assert not (isinstance(event, Returned) and self.started[job]), "a returned job was started"

    # -- the children --------------------------------------------------------------------------------------

    def fork(self) -> None:
        self.pids += 1
        self.children.append(Child(self.pids))

    def living(self) -> Child:
        return self.chance.choice([child for child in self.children if child.alive])

    def any_child_goes_on(self) -> None:
        child = self.living()
        for _ in range(self.chance.choice((1, 1, 2, 3, 6, 9))):
            self.step(child)

    def step(self, child: Child) -> None:
        """One step of ``child.Child``, in its order."""
        if child.at == "take":
            if not self.socket:
                return
            child.ticket, child.job = self.socket.popleft()
            child.at = "mark"
        elif child.at == "mark":
            child.slot = (child.ticket, Phase.MARKED)
            child.at = "look at the ticket"
        elif child.at == "look at the ticket":
            child.at = "run" if child.ticket in self.valid else "refuse"
        elif child.at == "refuse":
            child.ring.append(End(child.ticket, Kind.REFUSED, 0, 0, b""))
            child.at = "clear"
        elif child.at == "clear":
            child.slot = None
            child.at = "take"
        elif child.at == "run":
            child.slot = (child.ticket, Phase.RUNS)
            child.at = "begin the body"
        elif child.at == "begin the body":
            self.started[child.job] += 1
            child.at = "end the body"
        elif child.at == "end the body":
            self.returned[child.job] += 1
            child.slot = (child.ticket, Phase.RETURNED)
            child.at = "report"
        elif child.at == "report":
            child.ring.append(End(child.ticket, Kind.RETURNED, 1_000_000_000, 5, b""))
            child.at = "take"

    def die(self, child: Child) -> None:
        child.alive = False
        if child.at in ("begin the body", "end the body"):
            self.died_with.add(child.job)
        self.fork()

    def a_child_dies(self) -> None:
        if len(self.children) < 5:
            self.die(self.living())

    # -- the parent ----------------------------------------------------------------------------------------

    def time_passes(self) -> None:
        self.now += self.chance.choice((0.001, SETTLES, 0.3, PATIENCE))

    def submit(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            self.jobs += 1
            self.accounts.open(self.jobs, b"")
        self.hand_out(self.chance.randint(1, 5))

    def hand_out(self, most: int) -> None:
        while self.accounts.waiting and len(self.accounts.sent) < most:
            self.tickets += 1
            self.valid.add(self.tickets)
            self.socket.append((self.tickets, self.accounts.waiting[0].job))
            self.accounts.issue(self.tickets)

    def take_back(self) -> None:
        if self.jobs:
            self.accounts.take_back(self.chance.randint(max(1, self.jobs - 3), self.jobs))
            self.hear()

    def take_all_back(self) -> None:
        self.accounts.take_all_back()
        self.hear()

    def begin_to_look(self) -> None:
        dead = next((child for child in self.children if not child.alive), None)
        head = self.socket[0][0] if self.socket else math.inf
        marks = [mark for child in self.children if (mark := child.mark())]
        self.look = Look(self.now, head, marks, dead)

    def look_to_the_end(self) -> None:
        assert self.look
        look, self.look = self.look, None
        ends = [(child.pid, end) for child in self.children for end in child.ring]
        for child in self.children:
            child.ring.clear()
        self.accounts.observe(look.seen, look.marks, ends)
        if look.dead:
            self.children.remove(look.dead)
            self.accounts.bury(look.dead.pid, -9, look.dead.mark())
        self.accounts.suspect(look.seen, look.head, look.marks, patience=0 if look.dead else PATIENCE)
        self.hand_out(self.chance.randint(1, 5))
        self.hear()

    def hear(self) -> None:
        while self.accounts.events:
            event = self.accounts.events.popleft()
            job = event.job
            assert job not in self.told, f"{event} after {self.told[job]}"
            if isinstance(event, Started):
                continue
            self.told[job] = event
            if isinstance(event, Ended):
                assert self.returned[job] == 1
            elif isinstance(event, Returned):
                assert not self.started[job]
            elif isinstance(event, Lost):
                assert job in self.died_with
                assert not self.returned[job]

    # -- the end -------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """While one child stands still, all that it does not hold is told of; the rest is when it is killed."""
        frozen = self.living()
        self.settle(frozen)
        held = frozen.job if frozen.at not in ("take", "mark", "clear") else 0
        assert set(range(1, self.jobs + 1)) - self.told.keys() <= {held}
        if held and held not in self.told:
            self.die(frozen)
            self.settle(frozen)
        assert self.told.keys() == set(range(1, self.jobs + 1))
        assert not len(self.accounts)
        assert not self.accounts.sent
        assert not self.accounts.running
        assert self.accounts.next_look == math.inf

    def settle(self, frozen: Child) -> None:
        for _ in range(3 * self.jobs + 12):
            if not self.look:
                self.begin_to_look()
            for child in self.children:
                for _ in range(9 if child.alive and child is not frozen else 0):
                    self.step(child)
            self.look_to_the_end()
            self.now += PATIENCE


@pytest.mark.parametrize("seed", range(8))
def test_whoever_stands_still_or_dies_whenever(seed: int) -> None:
    for episode in range(EPISODES):
        model = Model(seed * EPISODES + episode)
        for _ in range(30):
            model.act()
        model.finish()


# -- single decisions --------------------------------------------------------------------------------------


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(clock: Clock) -> Accounts:
    return Accounts(lambda ticket: None, clock)


def sent(accounts: Accounts, *jobs: int) -> None:
    for job in jobs:
        accounts.open(job, b"")
        accounts.issue(job)


def test_a_job_that_waits_is_returned_at_once(accounts: Accounts) -> None:
    accounts.open(1, b"")
    accounts.take_back(1)
    assert list(accounts.events) == [Returned(1)]
    assert not accounts.waiting


def test_a_job_cannot_be_submitted_twice(accounts: Accounts) -> None:
    accounts.open(1, b"")
    with pytest.raises(ValueError, match="job 1 was submitted already"):
        accounts.open(1, b"")


def test_a_job_that_was_sent_is_returned_only_after_a_look_that_began_late_enough(
    accounts: Accounts, clock: Clock
) -> None:
    sent(accounts, 1)
    accounts.take_back(1)
    assert accounts.next_look == clock.now + SETTLES
    accounts.observe(clock.now + SETTLES - 0.001, [], [])
    assert not accounts.events
    accounts.observe(clock.now + SETTLES, [], [])
    assert list(accounts.events) == [Returned(1)]


def test_a_job_that_a_child_has_marked_stays_with_it(accounts: Accounts, clock: Clock) -> None:
    sent(accounts, 1)
    accounts.take_back(1)
    marked = Mark(7, 1, Phase.MARKED, 0)
    accounts.observe(clock.now + 5, [marked], [])
    assert not accounts.events
    accounts.observe(clock.now + 6, [marked._replace(phase=Phase.RUNS)], [])
    accounts.observe(clock.now + 7, [], [(7, End(1, Kind.RETURNED, 0, 0, b"x"))])
    assert [type(event) for event in accounts.events] == [Started, Ended]


def test_a_job_that_runs_cannot_be_taken_back(accounts: Accounts, clock: Clock) -> None:
    sent(accounts, 1)
    accounts.observe(clock.now, [Mark(7, 1, Phase.RUNS, 1)], [])
    accounts.take_back(1)
    assert accounts.next_look == math.inf


def test_a_refused_job_is_returned_without_waiting(accounts: Accounts, clock: Clock) -> None:
    sent(accounts, 1)
    accounts.take_back(1)
    accounts.observe(clock.now, [], [(7, End(1, Kind.REFUSED, 0, 0, b""))])
    assert list(accounts.events) == [Returned(1)]


def test_only_what_has_left_the_socket_is_missed_and_only_after_patience(
    accounts: Accounts, clock: Clock
) -> None:
    sent(accounts, 1, 2, 3)
    for later in (0.0, PATIENCE - 0.1, PATIENCE):
        assert accounts.next_look == math.inf
        accounts.suspect(clock.now + later, 3, [Mark(7, 2, Phase.MARKED, 0)])
    clock.now += 2
    accounts.observe(clock.now, [Mark(7, 2, Phase.MARKED, 0)], [])
    assert [account.job for account in accounts.waiting] == [1], "it is handed out again"
    assert list(accounts.sent) == [2, 3]


def test_a_child_that_died_before_the_body_began_has_lost_nothing(accounts: Accounts) -> None:
    sent(accounts, 1)
    accounts.bury(7, -9, Mark(7, 1, Phase.MARKED, 0))
    assert [account.job for account in accounts.waiting] == [1]


def test_a_child_that_died_in_the_body_has_lost_it(accounts: Accounts) -> None:
    sent(accounts, 1)
    accounts.bury(7, -9, Mark(7, 1, Phase.RUNS, 2_000_000_000))
    assert list(accounts.events) == [Started(1, 7, 2.0), Lost(1, 7, 2.0, -9, "")]


def test_a_child_that_died_after_the_body_has_ended_it(accounts: Accounts) -> None:
    sent(accounts, 1)
    accounts.bury(7, -9, Mark(7, 1, Phase.RETURNED, 2_000_000_000))
    assert accounts.events[-1] == Ended(1, 7, 2.0, 0.0, Kind.UNREPORTED, b"")


def test_jobs_that_are_handed_out_again_go_first_and_in_order(accounts: Accounts, clock: Clock) -> None:
    sent(accounts, 1, 2, 3)
    accounts.open(4, b"")
    accounts.suspect(clock.now, math.inf, [], patience=0)
    accounts.observe(clock.now + 1, [], [])
    assert [account.job for account in accounts.waiting] == [1, 2, 3, 4]
    assert accounts.reissued == 3
