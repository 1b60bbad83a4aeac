"""What the harness asks of a peer: how to start its workers, and how to enqueue with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

PROCESSES = 2
"""Worker processes of every peer: one per core of the machine that the figures are made for."""
THREADS = 8
"""Threads (or jobs at a time) of each process, where a peer has such a thing: Dramatiq's default."""
PREFETCH = 64
"""Celery's prefetch multiplier, for stock Celery and Nightshift alike: jobs fetched ahead per process or thread."""

MEASURES = ("enqueue", "drain", "io", "latency", "memory", "idle", "far", "million")
"""What can be measured (``ONLY=``); see the report for what each of them is."""

REDIS = ("redis", "valkey")
RABBITMQ = ("rabbitmq",)


class Peer(ABC):
    """One library in one configuration. The same object serves the harness and the process that enqueues."""

    name: str
    """As in ``PEERS=``."""
    distributions: ClassVar[tuple[str, ...]]
    """Whose versions the report shows; the first one is the library."""
    servers: tuple[str, ...] = REDIS
    how: str
    """How it is configured, and why, for the report."""
    parallel: int
    """Jobs that run at a time."""
    bulk: ClassVar[str] = ""
    """The library's own way to enqueue many jobs at once; empty: there is none."""
    measures: frozenset[str] = frozenset(MEASURES) - {"million"}
    """What is measured with it: not everything with every pool, so that a run ends in reasonable time."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """The command lines of its worker processes, each a program of this virtual environment and its words.

        ``{broker}`` in a word becomes the broker's URL.
        """

    def environment(self, home: str) -> Mapping[str, str]:  # noqa: ARG002
        """Further environment variables; ``home`` is a folder of this peer's own."""
        return {}

    def preparations(self) -> list[list[str]]:
        """Commands to run once, before the first worker."""
        return []

    @abstractmethod
    def enqueue(self, job: str, argument: int) -> None:
        """Enqueue one of ``jobs.NAMES``."""

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        """Enqueue one after another with single calls."""
        for argument in arguments:
            self.enqueue(job, argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        """Enqueue many the way the library offers for that (``bulk``); without one, one by one."""
        self.enqueue_each(job, arguments)
