"""The short form of ``make chaos`` for ``make test``: each fault once or twice, on two workers."""

from __future__ import annotations

import pytest

from .arena import Arena
from .crew import Setup
from .faults import Fault, Twice, twice
from .table import complaint, line
from .trial import Outcome

JOBS = 80
KILLS = {Fault.WORKER_TREE_KILL: 2, Fault.MIXED: 3}
"""How often where not once."""
SEED = 7
BY_SETUP = [
    pytest.param(fault, id=fault.value, marks=[pytest.mark.postgres] if Setup.of(fault).postgres else [])
    for fault in sorted(Fault, key=lambda fault: repr(Setup.of(fault)))
]
"""All faults, those that one crew can serve one after the other."""
DEADLY = frozenset({Fault.RETRY_STORM, Fault.POISON})
"""Faults that come with jobs which must die."""


def survive(arena: Arena, fault: Fault) -> Outcome:
    """One trial: no job is lost, and none runs twice without a reason."""
    outcome = arena.run(fault, jobs=JOBS, kills=KILLS.get(fault, 1), seed=SEED)
    print(line(outcome))
    assert not outcome.broken, complaint(outcome)
    assert outcome.jobs >= JOBS
    assert outcome.kills >= (fault is not Fault.RETRY_STORM), "nothing was hit"
    if twice(fault, arena.broker) is Twice.NEVER:
        assert len(outcome.verdict.ended_twice) <= outcome.kills, "only jobs whose publish was cut"
    if fault in DEADLY:
        assert outcome.verdict.dead, "what must die lives"
    return outcome
