r"""The name of every key on the server.

The ready lists are kombu's own, so that plain Celery, Flower and ``LLEN`` see them. All other keys start with
``nightshift:``. kombu's ``global_keyprefix`` stands before each of them.

    <queue>, <queue><sep><step>   list    ready messages; the right end is the head
    nightshift:delayed:<queue>    zset    "<step>|<message>" by due time (unix seconds)
    nightshift:bell:<queue>       list    at most one element, lives 2 s: the queue has a message
    nightshift:wake:<consumer>    list    the same for one consumer, rung by its renewer
    nightshift:lease:<consumer>   hash    number → "<queue>\0<step>\0<message>" that the consumer holds
    nightshift:started:<consumer> set     numbers of the messages it has begun; "r<first number>" of the claim it is
                                          receiving; "0" if it reports starts at all
    nightshift:leased             hash    queue → number of its leased messages
    nightshift:consumers          zset    consumer by lease deadline (unix seconds)
    nightshift:clients            hash    consumer → Redis client id of its renewer
    nightshift:publisher:<name>   string  number of that publisher's last publish, lives 10 s
    nightshift:copy:<attempt>     string  number of the publish of "<row>:<run>:<attempt>", which came from an
                                          outbox; lives 1 h
    nightshift:lock:<key>         hash    the lock of a unique job: id, task, until (started, done), at, due and started
                                          (unix seconds)
    nightshift:replaced           zset    unique job that another one replaced and that must not run, by when it is
                                          forgotten
    nightshift:tick:<queue>:<entry> string  when the last tick of a schedule entry that enqueued a job was due (unix
                                          seconds); lives 30 days
    nightshift:epoch              string  a random value, written when it is missing
    nightshift:orders             string  the number of the last order for all workers
    nightshift:paused             hash    paused queue → since when, by whom and why (JSON)
    nightshift:tombstones         zset    cancelled job that a worker has yet to meet (JSON), by the number of its order
    nightshift:suspects           zset    consumer whose client is missing, by first sighting
    nightshift:late               zset    consumer whose deadline is near or past, by first sighting
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SEPARATOR = "\x06\x16"
"""kombu's separator between a queue and a priority step."""
STEPS = (0, 3, 6, 9)
"""kombu's priority steps: each has a ready list."""

LONGEST_NAME = 255
"""Characters of an entry's name in a key; of a longer one, the key has a digest."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a message goes: its queue's ready list, delayed set and doorbell."""

    ready: str
    delayed: str
    bell: str


@dataclass(frozen=True, slots=True)
class KeySpace:
    """The keys of one broker: kombu's ``global_keyprefix``, ``sep`` and ``priority_steps``."""

    prefix: str = ""
    sep: str = SEPARATOR
    steps: tuple[int, ...] = STEPS

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> KeySpace:
        """From kombu's transport options."""
        steps = tuple(options.get("priority_steps") or STEPS)
        return cls(options.get("global_keyprefix") or "", options.get("sep", SEPARATOR), steps)

    # of one queue
    def ready(self, queue: str, step: int | str = 0) -> str:
        """The ready list of one priority step."""
        return f"{self.prefix}{queue}{self.sep}{step}" if int(step) else f"{self.prefix}{queue}"

    def ready_lists(self, queue: str) -> list[str]:
        """The ready lists of ``queue`` in the order in which workers take from them."""
        return [self.ready(queue, step) for step in self.steps]

    def delayed(self, queue: str) -> str:
        """The messages whose time has not come; with an empty queue name, the prefix of all such keys."""
        return f"{self.prefix}nightshift:delayed:{queue}"

    def bell(self, queue: str) -> str:
        """The doorbell that a publish rings; with an empty queue name, the prefix of all doorbells."""
        return f"{self.prefix}nightshift:bell:{queue}"

    def destination(self, queue: str, step: int) -> Destination:
        """The three keys that a message for ``queue`` may touch."""
        return Destination(self.ready(queue, step), self.delayed(queue), self.bell(queue))

    def of_queues(self, queues: Sequence[str], steps: Sequence[int]) -> list[str]:
        """Every key of ``queues``, in the order of ``keys_of`` in ``shared.lua``."""
        names = [*map(self.bell, queues), *map(self.delayed, queues)]
        return names + [self.ready(queue, step) for step in steps for queue in queues]

    def places(self, places: Sequence[tuple[str, int | str]]) -> tuple[list[str], list[int | str]]:
        """KEYS and ARGV of pairs of a queue and a step (``places_of`` in ``shared.lua``)."""
        names = [key for queue, step in places for key in (self.ready(queue, step), self.bell(queue))]
        return names, [len(places), *(part for place in places for part in place)]

    # of one consumer or publisher
    def lease(self, consumer: str) -> str:
        """The messages that one consumer holds; with an empty name, the prefix of all leases."""
        return f"{self.prefix}nightshift:lease:{consumer}"

    def started(self, consumer: str) -> str:
        """The messages that one consumer has begun; with an empty name, the prefix of all such keys."""
        return f"{self.prefix}nightshift:started:{consumer}"

    def wake(self, consumer: str) -> str:
        """The doorbell of one consumer."""
        return f"{self.prefix}nightshift:wake:{consumer}"

    def publisher(self, name: str) -> str:
        """The sequence number of a publisher's last publish."""
        return f"{self.prefix}nightshift:publisher:{name}"

    # of one job
    def copy(self, row: str, run: int, attempt: int) -> str:
        """The number of the publish of an attempt, by the row of the outbox that it came from."""
        return f"{self.prefix}nightshift:copy:{row}:{run}:{attempt}"

    # of unique jobs
    def lock(self, key: str) -> str:
        """The lock with that key; with an empty one, the prefix of all locks."""
        return f"{self.prefix}nightshift:lock:{key}"

    @property
    def replaced(self) -> str:
        """The jobs that were replaced before they began."""
        return f"{self.prefix}nightshift:replaced"

    # of schedule entries
    def tick(self, queue: str, entry: str) -> str:
        """The last tick of ``entry``, whose jobs go to ``queue``: two apps on one server may name entries alike."""
        name = f"{queue}:{entry}"
        if len(name) > LONGEST_NAME:
            name = "#" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.prefix}nightshift:tick:{name}"

    # of the whole broker
    @property
    def leased(self) -> str:
        """The number of leased messages for each queue."""
        return f"{self.prefix}nightshift:leased"

    @property
    def epoch(self) -> str:
        """A value that is new when all data is new."""
        return f"{self.prefix}nightshift:epoch"

    @property
    def consumers(self) -> str:
        """The living consumers and their deadlines."""
        return f"{self.prefix}nightshift:consumers"

    @property
    def clients(self) -> str:
        """The Redis client id of each consumer's renewer."""
        return f"{self.prefix}nightshift:clients"

    @property
    def orders(self) -> str:
        """The number of the last order for all workers."""
        return f"{self.prefix}nightshift:orders"

    @property
    def paused(self) -> str:
        """The paused queues."""
        return f"{self.prefix}nightshift:paused"

    @property
    def tombstones(self) -> str:
        """The cancelled jobs that workers have yet to meet."""
        return f"{self.prefix}nightshift:tombstones"

    @property
    def suspects(self) -> str:
        """The consumers whose client was found missing."""
        return f"{self.prefix}nightshift:suspects"

    @property
    def late(self) -> str:
        """The consumers that missed renewals."""
        return f"{self.prefix}nightshift:late"


__all__ = ["SEPARATOR", "STEPS", "Destination", "KeySpace"]
