"""``make chaos``: its parameters, its plan, and its clean-up."""

from __future__ import annotations

import pytest

from .beat_faults import BeatFault
from .brokers import BROKERS
from .faults import OF_CLUSTERS, Fault, faults_of
from .parameters import DEFAULTS, MEANINGS, Parameters, WrongParameter
from .plan import Plan


def test_without_parameters_every_fault_runs_on_every_broker() -> None:
    parameters = Parameters.of({})
    assert parameters.faults == tuple(Fault)
    assert parameters.beat_faults == tuple(BeatFault)
    assert parameters.brokers == ("valkey", "redis", "cluster", "rabbitmq")
    assert not parameters.stock
    assert parameters.prefetch is None, "as each fault needs it"


def test_parameters_are_read() -> None:
    given = {"JOBS": "50000", "KILLS": "200", "SEED": "4", "FAULTS": "poison,child-kill", "BROKERS": "redis"}
    parameters = Parameters.of({**given, "STOCK": "1", "PREFETCH": "64"})
    assert (parameters.jobs, parameters.kills, parameters.seed) == (50000, 200, 4)
    assert parameters.prefetch == 64
    assert parameters.faults == (Fault.CHILD_KILL, Fault.POISON)
    assert parameters.brokers == ("redis",)
    assert parameters.stock


def test_faults_of_beats_are_chosen_beside_the_others() -> None:
    parameters = Parameters.of({"FAULTS": "poison,beat-kill", "SECONDS": "30"})
    assert (parameters.faults, parameters.beat_faults) == ((Fault.POISON,), (BeatFault.BEAT_KILL,))
    assert parameters.seconds == 30


def test_where_jobs_do_not_run_in_children_none_is_killed() -> None:
    parameters = Parameters.of({"POOL": "threads"})
    assert parameters.pool == "threads"
    assert not {Fault.CHILD_KILL, Fault.MIXED} & set(parameters.faults)
    with pytest.raises(WrongParameter, match="child-kill"):
        Parameters.of({"POOL": "solo", "FAULTS": "child-kill"})


WRONG = [
    ("JOBS", "many", "from 1 to"),
    ("KILLS", "0", "from 1 to"),
    ("SEED", "-1", "from 0 to"),
    ("PREFETCH", "-1", "from 1 to 1000"),
    ("STOCK", "yes", "from 0 to 1"),
    ("POOL", "eventlet", "prefork, threads, solo, gevent"),
    ("BROKERS", "valkey,kafka", "valkey, redis, cluster, rabbitmq"),
    ("FAULTS", "gremlins", "worker-tree-kill, child-kill"),
    ("FAULTS", "gremlins", "beat-kill, beat-freeze"),
    ("SECONDS", "0", "from 1 to"),
    ("JOBS", "3", "more jobs than kills"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_parameter_is_refused_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(WrongParameter, match=name) as caught:
        Parameters.of({name: value})
    assert value in str(caught.value)
    assert allowed in str(caught.value)


def test_every_parameter_is_read_and_has_a_meaning() -> None:
    assert {name for name, _, _ in WRONG} == set(MEANINGS)
    assert {name for name in MEANINGS if not hasattr(Parameters, name.lower())} <= set(DEFAULTS)


@pytest.mark.parametrize("fault", Fault)
def test_the_same_seed_makes_the_same_plan(fault: Fault) -> None:
    plan, again, other = (Plan(fault, "valkey", 500, 20, seed) for seed in (1, 1, 2))
    assert plan.steps == again.steps
    assert some_jobs(plan) == some_jobs(again) != some_jobs(other)
    assert plan.steps != other.steps or fault is Fault.RETRY_STORM
    assert plan.quotas()[-1] == 500


def test_a_mixed_plan_has_every_kind() -> None:
    for broker in BROKERS:
        kinds = {step.fault for step in Plan(Fault.MIXED, broker, 500, 20, 1).steps}
        assert kinds == set(faults_of(broker)) - {Fault.MIXED, Fault.RETRY_STORM}
    assert not OF_CLUSTERS & set(faults_of("valkey"))


def some_jobs(plan: Plan) -> list[object]:
    candidates = plan.candidates()
    return [next(candidates) for _ in range(50)]
