"""What stands in kombu's lists: depth, age, purge."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import redis

from ..reading import age
from ..values import QueueDepth
from .transport import queues
from .transport.keys import KeySpace


class Queues:
    """The queues of kombu's own transport, which keeps delayed and reserved jobs out of sight."""

    sees_delayed = False

    def __init__(self, client: redis.Redis, keys: KeySpace) -> None:
        self.client = client
        self.keys = keys

    def depth(self, queue: str) -> QueueDepth:
        """Length, and for how long the oldest has been ready."""
        with self.client.pipeline(transaction=True) as pipe:
            for key in self.keys.ready_lists(queue):
                pipe.llen(key)
                pipe.lindex(key, -1)
            answers = pipe.execute()
        return QueueDepth(queue, sum(answers[::2]), oldest=age(answers[1::2]))

    def epoch(self) -> str:
        """The value that stands for all data on this server; a new one if there is none."""
        found = self.client.get(self.keys.epoch)
        if found is None:
            made = secrets.token_hex(16)
            if self.client.set(self.keys.epoch, made, nx=True):
                return made
            found = self.client.get(self.keys.epoch) or made  # another process was faster
        return found.decode() if isinstance(found, bytes) else str(found)

    def purge(self, queue: str, deleted: Callable[[int], object]) -> None:
        """Delete the jobs that ``depth`` counts as ready or delayed; ``deleted`` hears of some at a time."""
        queues.purge(self.client, self.keys, queue, deleted, delayed=self.sees_delayed)


class LeaseQueues(Queues):
    """The queues of the lease transport, where delayed and leased jobs can be seen."""

    sees_delayed = True

    def depth(self, queue: str) -> QueueDepth:
        """All four numbers."""
        seen = super().depth(queue)
        delayed = queues.delayed_count(self.client, self.keys, queue)
        leased = queues.leased_count(self.client, self.keys, queue)
        return QueueDepth(queue, seen.ready, delayed, leased, seen.oldest)
