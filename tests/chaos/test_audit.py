"""The audit reports every kind of broken guarantee."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from .audit import Accepted, Verdict, audit, recoveries
from .faults import Blow, Fault, Twice
from .injection import BEGAN_IN_PAUSE, NOT_RECOVERED
from .ledger import Book, Run, note_dead, recorded
from .plan import Plan
from .trial import CHECKS, Outcome


def run(job: str, at: float, *, worker: int = 1, attempt: int = 0, ended: float | None = None) -> Run:
    return Run(job, attempt, worker, worker * 10, at, ended, finished=ended is not None)


def verdict(
    *runs: Run,
    dead: dict[str, str] | None = None,
    blows: tuple[Blow, ...] = (),
    allowed: Twice = Twice.OF_VICTIMS,
    doomed: bool = False,
) -> Verdict:
    by_job: dict[str, list[Run]] = defaultdict(list)
    for each in runs:
        by_job[each.job].append(each)
    job = Accepted("a", doomed=doomed)
    return audit([job], lambda name: by_job[name], dead or {}, blows, allowed)


KILL = Blow(Fault.WORKER_TREE_KILL, 2.0, 2.0, worker=1)


def test_a_job_that_ran_once_is_fine() -> None:
    assert verdict(run("a", 1, ended=2)) == Verdict()


@pytest.mark.parametrize("runs", [[], [run("a", 1)]])
def test_a_job_that_never_ended_is_lost(runs: list[Run]) -> None:
    assert verdict(*runs).lost == ["a"]


def test_a_dead_letter_is_not_lost() -> None:
    assert verdict(run("a", 1), dead={"a": "exhausted"}, doomed=True) == Verdict(dead=["a"])


def test_a_dead_letter_with_a_wrong_reason_breaks_the_audit() -> None:
    assert verdict(dead={"a": "exhausted"}).wrong_ends == ["a"]
    assert verdict(dead={"a": "delivery_limit"}).wrong_ends == []
    assert verdict(dead={"a": "delivery_limit"}, allowed=Twice.NEVER).wrong_ends == ["a"]


def test_a_doomed_job_that_does_not_die_breaks_the_audit() -> None:
    assert verdict(run("a", 1, ended=2), doomed=True).wrong_ends == ["a"]


def test_a_retry_is_no_duplicate() -> None:
    assert verdict(run("a", 1), run("a", 2, attempt=1, ended=3)) == Verdict()


@pytest.mark.parametrize("fault", [Fault.WORKER_TREE_KILL, Fault.PAUSE])
def test_a_duplicate_is_explained_by_the_death_of_its_first_worker(fault: Fault) -> None:
    found = verdict(run("a", 1), run("a", 5, worker=2, ended=6), blows=(Blow(fault, 2.0, 2.0, worker=1),))
    assert found.started_twice == ["a"]
    assert (found.ended_twice, found.unexplained) == ([], [])


def test_a_second_ending_is_counted_separately() -> None:
    found = verdict(run("a", 1, ended=1.5), run("a", 5, worker=2, ended=6), blows=(KILL,))
    assert (found.started_twice, found.ended_twice, found.unexplained) == (["a"], ["a"], [])


def test_succeeding_and_dying_is_ending_twice() -> None:
    assert verdict(run("a", 1, ended=2), dead={"a": "delivery_limit"}).ended_twice == ["a"]


@pytest.mark.parametrize(
    ("blows", "allowed"),
    [
        ((), Twice.OF_VICTIMS),
        ((Blow(Fault.WORKER_TREE_KILL, 2.0, 2.0, worker=2),), Twice.OF_VICTIMS),  # the other worker
        ((Blow(Fault.WORKER_TREE_KILL, 0.5, 0.5, worker=1),), Twice.OF_VICTIMS),  # before
        ((Blow(Fault.CHILD_KILL, 2.0, 2.0, worker=1, pid=11),), Twice.OF_VICTIMS),  # another child
        ((KILL,), Twice.NEVER),
    ],
)
def test_a_duplicate_that_nothing_explains(blows: tuple[Blow, ...], allowed: Twice) -> None:
    found = verdict(run("a", 1, ended=2.5), run("a", 5, worker=2, ended=6), blows=blows, allowed=allowed)
    assert found.unexplained == ["a"]


def test_recovery_is_from_the_kill_to_the_next_start() -> None:
    runs = [run("a", 1), run("a", 5.5, worker=2, ended=6), run("b", 1, ended=1.5), run("c", 3, worker=2)]

    def of(job: str) -> list[Run]:
        return [each for each in runs if each.job == job]

    assert recoveries(runs, of, [KILL]) == [3.5]
    assert recoveries(runs, of, [Blow(Fault.BROKER_KILL, 2.0, 2.75)]) == [0.25]


@pytest.mark.parametrize(
    ("fault", "recovered", "said"),
    [
        (Fault.WORKER_TREE_KILL, [3.0] * 30 + [19.9], []),
        (Fault.WORKER_TREE_KILL, [20.1], ["20.1 s until a job ran again, aim 20 s"]),
        (Fault.CHILD_KILL, [5.2] * 20, ["5.2 s until a job ran again, in the median, aim 5 s"]),
        (Fault.CHILD_KILL, [5.2] * 19, []),
        (Fault.WORKER_FREEZE, [25.0] * 30, []),
    ],
)
def test_a_late_recovery_breaks_the_aim(fault: Fault, recovered: list[float], said: list[str]) -> None:
    plan = Plan(fault, "valkey", 400, 4, 1)
    outcome = Outcome(plan, Verdict(recoveries=recovered), 4, 400, 0, 0, 60.0)
    assert outcome.broken == said


def test_a_trial_that_never_recovered_is_broken() -> None:
    plan = Plan(Fault.WORKER_FREEZE, "valkey", 400, 4, 1)
    assert Outcome(plan, Verdict(), 1, 400, 0, 0, 60.0, stalled=["it stood still"]).broken == [
        "it stood still"
    ]


def test_every_complaint_is_one_of_the_checks_that_the_docs_list() -> None:
    verdict = Verdict(lost=["a"], unexplained=["b"], wrong_ends=["c"], recoveries=[99.0])
    plan = Plan(Fault.WORKER_TREE_KILL, "valkey", 400, 4, 1)
    outcome = Outcome(plan, verdict, 1, 400, 0, left=1, seconds=60.0, stalled=[BEGAN_IN_PAUSE, NOT_RECOVERED])
    found = [[name for name in CHECKS if name in text] for text in outcome.broken]
    assert found == [[name] for name in CHECKS]


def test_the_ledger_is_read_as_far_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    note_dead(str(path), "of an earlier trial")
    book = Book(path)
    with recorded(str(path), "a", 2):
        assert [(each.attempt, each.finished) for each in book.refresh().of("a")] == [(2, False)]
    with pytest.raises(ConnectionError), recorded(str(path), "b", 0):
        raise ConnectionError
    with path.open("a") as file:
        file.write("start c 0 1")  # half a line
    book.refresh()
    assert book.finished == {"a"}
    assert [each.ended is not None for each in book.of("b")] == [True]
    assert (book.of("c"), book.given_up) == ([], set())
    book.close()
