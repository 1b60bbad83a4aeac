"""The short form of ``make chaos`` for ``make test``: each fault once or twice, on two workers."""

from __future__ import annotations

from typing import Any

import pytest

from .environment import Environment
from .faults import Fault, Twice, faults_of, twice
from .table import complaint, line
from .trial import Outcome
from .workers import Setup

JOBS = 60
KILLS = {Fault.WORKER_TREE_KILL: 2, Fault.MIXED: 2}
"""How often where not once."""
PREFETCH = {Fault.MIXED: 4}
"""What the jobs of the first phase of so small a trial more than fill."""
SEED = 7
DEADLY = frozenset({Fault.RETRY_STORM, Fault.POISON})
"""Faults that come with jobs which must die."""


def faults_on(broker: str) -> list[Any]:
    """The faults, as pytest's parameters; faults that the same workers can serve follow each other.

    ``integration/test_pause.py`` does more than ``PAUSE``.
    """
    setups = {fault: Setup.of(fault, broker) for fault in faults_of(broker) if fault is not Fault.PAUSE}
    return [
        pytest.param(fault, id=fault.value, marks=[pytest.mark.postgres] if setup.postgres else [])
        for fault, setup in sorted(setups.items(), key=lambda item: repr(item[1]))
    ]


def survive(environment: Environment, fault: Fault) -> Outcome:
    """One trial: no job is lost, and none runs twice without a reason."""
    outcome = environment.run(
        fault, jobs=JOBS, kills=KILLS.get(fault, 1), seed=SEED, prefetch=PREFETCH.get(fault)
    )
    print(line(outcome))
    assert not outcome.broken, complaint(outcome)
    assert outcome.jobs >= JOBS
    assert outcome.kills >= (fault is not Fault.RETRY_STORM), "nothing was hit"
    if twice(fault, environment.broker) is Twice.NEVER:
        assert len(outcome.verdict.ended_twice) <= outcome.kills, "only jobs whose publish was cut"
    if fault in DEADLY:
        assert outcome.verdict.dead, "what must die lives"
    return outcome
