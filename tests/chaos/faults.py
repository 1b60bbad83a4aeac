"""The faults, and the effects that each may have.

No fault may lose a job. A job may run twice only if the part that held it died or seemed to have died.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Twice(enum.Enum):
    """Which jobs may start or finish more than once."""

    NEVER = "none"
    OF_VICTIMS = "those that were in the hands of the killed or frozen process"
    ANY = "any that was under way"


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


def faults_of(broker: str) -> tuple[Fault, ...]:
    """The faults that ``broker`` knows."""
    return tuple(fault for fault in Fault if broker == "cluster" or fault not in OF_CLUSTERS)


@dataclass(frozen=True, slots=True)
class Facts:
    """``slow``: the fault takes long, so it is injected a third as often. ``rabbitmq``: the differences on RabbitMQ."""

    what: str
    twice: Twice
    why: str
    rabbitmq: Twice | None = None
    slow: bool = False


FACTS = {
    Fault.WORKER_TREE_KILL: Facts(
        "SIGKILL to a worker and all its children at once",
        Twice.OF_VICTIMS,
        "the part of a job that had run when its worker died",
    ),
    Fault.CHILD_KILL: Facts(
        "SIGKILL to one child that runs a job",
        Twice.OF_VICTIMS,
        "the job that the child had; its next attempt counts as a retry",
    ),
    Fault.WORKER_TERM: Facts(
        "SIGTERM to a worker while jobs run and wait",
        Twice.NEVER,
        "running jobs finish, the rest go back unstarted",
    ),
    Fault.BROKER_KILL: Facts(
        "SIGKILL to the broker, a second without it, and a restart from its disk",
        Twice.ANY,
        "what a worker said at that moment may not have arrived",
        slow=True,
    ),
    Fault.BROKER_FREEZE: Facts(
        "SIGSTOP to the broker, by turns for longer than a lease and for a few seconds: nothing answers",
        Twice.NEVER,
        "nobody died; on RabbitMQ a connection that timed out counts as a dead worker",
        rabbitmq=Twice.ANY,
        slow=True,
    ),
    Fault.HOST_FREEZE: Facts(
        "SIGSTOP to the broker and every worker for longer than a lease; they wake one after another",
        Twice.NEVER,
        "nobody died: a laptop was closed; on RabbitMQ a connection that timed out counts as a dead worker",
        rabbitmq=Twice.ANY,
        slow=True,
    ),
    Fault.CONNECTION_CUT: Facts(
        "every connection to the broker is closed from the broker's side",
        Twice.NEVER,
        "leases outlive connections; on RabbitMQ a lost connection counts as a dead worker",
        rabbitmq=Twice.ANY,
    ),
    Fault.POISON: Facts(
        "a job that kills its whole worker every time: it must end as a dead letter",
        Twice.OF_VICTIMS,
        "the jobs that ran beside it, and itself up to the delivery limit",
        slow=True,
    ),
    Fault.RETRY_STORM: Facts(
        "most jobs fail up to three times, one in twenty for ever",
        Twice.NEVER,
        "every attempt starts once",
    ),
    Fault.WORKER_FREEZE: Facts(
        "SIGSTOP to a worker tree until its jobs have begun elsewhere, then SIGCONT",
        Twice.OF_VICTIMS,
        "nobody can tell a frozen worker from a dead one; it ends what it had begun when it thaws",
        slow=True,
    ),
    Fault.DATABASE_AWAY: Facts(
        "PostgreSQL is stopped for a few seconds",
        Twice.NEVER,
        "history never stops work",
        slow=True,
    ),
    Fault.PAUSE: Facts(
        "the queue is paused; meanwhile a worker is killed and every connection cut; no job may begin before the end",
        Twice.OF_VICTIMS,
        "the jobs of the killed worker, after the pause; on RabbitMQ a lost connection counts as a dead worker",
        rabbitmq=Twice.ANY,
        slow=True,
    ),
    Fault.SWITCHOVER: Facts(
        "CLUSTER FAILOVER: a replica takes over from its master in good order",
        Twice.NEVER,
        "leases move with the other keys",
        slow=True,
    ),
    Fault.OWNER_KILL: Facts(
        "SIGKILL to the master that has the jobs, when its replica has all that it confirmed; the replica takes over",
        Twice.ANY,
        "what a worker said at that moment may not have arrived",
        slow=True,
    ),
    Fault.SLOT_MOVE: Facts(
        "the slot of the jobs moves to another master, key by key, while workers run",
        Twice.NEVER,
        "a node refuses whole scripts while keys move",
        slow=True,
    ),
    Fault.MIXED: Facts(
        "all of the above in random order, with many jobs prefetched for each child",
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
