"""A short run of ``support/pool_stress.py``. ``POOL_STRESS_JOBS=60000`` makes it a long one."""

from __future__ import annotations

import os

import pytest

from pool_stress import STEPS, Stress

JOBS = int(os.environ.get("POOL_STRESS_JOBS", "3000"))


@pytest.mark.timeout(120 + JOBS // 50)
def test_no_job_is_lost_and_none_runs_twice_while_children_are_killed_and_frozen() -> None:
    figures = Stress(JOBS, kills=40, mischief=0.004).run(100 + JOBS / 60)
    assert not figures["faults"], figures
    assert figures["Ended"] == JOBS
    assert figures["kills"] > 20
    assert figures["stops"] > 5
    assert figures["kills at a step"].keys() == set(STEPS)


@pytest.mark.timeout(120 + JOBS // 20)
def test_likewise_while_each_child_is_replaced_after_two_jobs() -> None:
    jobs = JOBS // 10
    figures = Stress(jobs, kills=10, mischief=0.001, most_jobs=2).run(100 + jobs / 5)
    assert not figures["faults"], figures
    assert figures["Ended"] == jobs
