"""The faults, and the effects that each may have.

No fault may lose a job. A job may run twice only if the part that held it died or seemed to have died.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Twice(enum.Enum):
    """Which jobs may start or finish more than once."""

    NEVER = "none"
    OF_VICTIMS = "those that the killed or frozen process was running"
    ANY = "any that was running"


class Fault(enum.Enum):
    """The value is its name in ``FAULTS=`` and in the table. Neighbours can share workers."""

    WORKER_TREE_KILL = "worker-tree-kill"
    CHILD_KILL = "child-kill"
    WORKER_TERM = "worker-term"
    BROKER_KILL = "broker-kill"
    BROKER_FREEZE = "broker-freeze"
    HOST_FREEZE = "host-freeze"
    CONNECTION_CUT = "connection-cut"
    POISON = "poison"
    RETRY_STORM = "retry-storm"
    WORKER_FREEZE = "worker-freeze"
    DATABASE_AWAY = "database-away"
    PAUSE = "pause"
    SWITCHOVER = "switchover"
    OWNER_KILL = "owner-kill"
    SLOT_MOVE = "slot-move"
    MIXED = "mixed"


OF_CHILDREN = {Fault.CHILD_KILL, Fault.MIXED}
"""Those that kill child processes."""
OF_CLUSTERS = {Fault.SWITCHOVER, Fault.OWNER_KILL, Fault.SLOT_MOVE}
"""Those that only a Redis Cluster knows."""
IN_EACH_CHANGE = (
    Fault.WORKER_TREE_KILL, Fault.CHILD_KILL, Fault.BROKER_KILL, Fault.CONNECTION_CUT, Fault.MIXED,
)  # fmt: skip
"""Those that CI injects for every change (``QUICK=1``); the others, each night."""


def faults_of(broker: str) -> tuple[Fault, ...]:
    """The faults that ``broker`` knows."""
    return tuple(fault for fault in Fault if broker == "cluster" or fault not in OF_CLUSTERS)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is done, which jobs may run twice, and why: docs/how-to/chaos.md has it from here.

    ``slow``: the fault takes long, so it is injected a third as often. ``rabbitmq``: which jobs on RabbitMQ.
    """

    what: str
    twice: Twice
    why: str
    rabbitmq: Twice | None = None
    slow: bool = False


FACTS = {
    Fault.WORKER_TREE_KILL: Facts(
        "SIGKILL to a worker and all its children at once",
        Twice.OF_VICTIMS,
        "the jobs that the worker was running: the finished part of their work is repeated",
    ),
    Fault.CHILD_KILL: Facts(
        "SIGKILL to one child that runs a job",
        Twice.OF_VICTIMS,
        "that job; its next attempt counts as a retry",
    ),
    Fault.WORKER_TERM: Facts(
        "SIGTERM to a worker while jobs run and wait",
        Twice.NEVER,
        "running jobs finish, and the others go back before they start",
    ),
    Fault.BROKER_KILL: Facts(
        "SIGKILL to the broker, one second without it, and a restart from its disk",
        Twice.ANY,
        "the workers' latest reports may not have arrived",
        slow=True,
    ),
    Fault.BROKER_FREEZE: Facts(
        "SIGSTOP to the broker, by turns for 18 s (longer than a lease) and for 4 s",
        Twice.NEVER,
        "no worker died; on RabbitMQ a connection that timed out counts as a dead worker",
        rabbitmq=Twice.ANY,
        slow=True,
    ),
    Fault.HOST_FREEZE: Facts(
        "SIGSTOP to the broker and all workers for 18 s; then they continue one after another, as on a laptop that was "
        "suspended",
        Twice.NEVER,
        "no worker died; on RabbitMQ a connection that timed out counts as a dead worker",
        rabbitmq=Twice.ANY,
        slow=True,
    ),
    Fault.CONNECTION_CUT: Facts(
        "the broker closes every connection (`CLIENT KILL`; AMQP close)",
        Twice.NEVER,
        "a lease outlives a connection; on RabbitMQ a lost connection counts as a dead worker",
        rabbitmq=Twice.ANY,
    ),
    Fault.POISON: Facts(
        "a job kills its whole worker every time, and must become a dead letter",
        Twice.OF_VICTIMS,
        "jobs that ran beside it, and the job itself up to the delivery limit",
        slow=True,
    ),
    Fault.RETRY_STORM: Facts(
        "most jobs fail up to three times; one in twenty always fails, and must become a dead letter",
        Twice.NEVER,
        "each attempt starts once",
    ),
    Fault.WORKER_FREEZE: Facts(
        "SIGSTOP to a worker until its jobs have started on other workers, then SIGCONT",
        Twice.OF_VICTIMS,
        "a frozen worker looks dead, and it finishes its jobs when it continues",
        slow=True,
    ),
    Fault.DATABASE_AWAY: Facts(
        "PostgreSQL stops for 4 s",
        Twice.NEVER,
        "jobs run without the database",
        slow=True,
    ),
    Fault.PAUSE: Facts(
        "the queue is paused, a worker is killed and all connections are cut; no job may begin before the pause ends",
        Twice.OF_VICTIMS,
        "the jobs of the killed worker, after the pause; on RabbitMQ a lost connection counts as a dead worker",
        rabbitmq=Twice.ANY,
        slow=True,
    ),
    Fault.SWITCHOVER: Facts(
        "a replica takes over from its master in good order (`CLUSTER FAILOVER`)",
        Twice.NEVER,
        "leases move with the other keys",
        slow=True,
    ),
    Fault.OWNER_KILL: Facts(
        "SIGKILL to the master that has the jobs, once its replica has all that it confirmed; the replica takes over",
        Twice.ANY,
        "the workers' latest reports may not have arrived",
        slow=True,
    ),
    Fault.SLOT_MOVE: Facts(
        "the slot of the jobs moves to another master, key by key, while workers run",
        Twice.NEVER,
        "a node refuses whole scripts while keys move",
        slow=True,
    ),
    Fault.MIXED: Facts(
        "all of these but `retry-storm` in random order, with a larger prefetch; one job in ten fails as there",
        Twice.ANY,
        "the broker dies, too",
    ),
}


def twice(fault: Fault, broker: str) -> Twice:
    """What ``fault`` allows on ``broker``."""
    facts = FACTS[fault]
    return facts.rabbitmq if broker == "rabbitmq" and facts.rabbitmq is not None else facts.twice


@dataclass(slots=True)
class Blow:
    """One time that a fault was injected. Wall clock, in seconds.

    ``at``: just before; ``over``: when the victim was hit, or the outage had ended. ``worker`` and ``pid``: the
    victim's main process, and the child if it was one.
    """

    fault: Fault
    at: float
    over: float
    worker: int | None = None
    pid: int | None = None
