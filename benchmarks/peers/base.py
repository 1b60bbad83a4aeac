"""The interface of a peer: how to start its workers, and how to enqueue with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

PROCESSES = 2
"""The number of worker processes of every peer: one per core of the machine for which we publish figures."""
THREADS = 8
"""The number of threads (or simultaneous jobs) of each process, if a peer has them: Dramatiq's default."""
AT_ONCE = 100
"""The number of simultaneous jobs of each process of a library whose jobs are coroutines: taskiq's default."""
PREFETCH = 64
"""The prefetch multiplier of stock Celery: jobs prefetched per process or thread; its default is 4."""

MEASURES = ("enqueue", "drain", "io", "latency", "memory", "idle", "far", "million", "many", "import")
"""The measures (``ONLY=``); the report explains each."""
USUAL = frozenset({"enqueue", "drain", "io", "latency", "memory", "idle", "far"})
"""The measures that the most important peers take."""
SHORT = frozenset({"enqueue", "drain", "io", "latency", "memory"})
"""The measures of the others, to keep a run short."""
OLDER = "older"
"""The virtual environment with redis-py 5, for libraries that work with no newer one."""

REDIS = ("redis", "valkey")
RABBITMQ = ("rabbitmq",)


class Peer(ABC):
    """One library in one configuration. The same object serves the harness and the process that enqueues."""

    name: str
    """Its name in ``PEERS=``."""
    distributions: ClassVar[tuple[str, ...]]
    """The distributions whose versions the report shows; the first one is the library."""
    venv: ClassVar[str] = ""
    """The virtual environment beside the usual one in which it runs, if its requirements conflict with the others'."""
    servers: tuple[str, ...] = REDIS
    how: str
    """How it is configured, and why, for the report."""
    parallel: int
    """The number of jobs that run at the same time."""
    bulk: ClassVar[str] = ""
    """The library's own way to enqueue many jobs at once; empty if it has none."""
    measures: frozenset[str] = USUAL
    """The measures to take with it; not all with every pool, to keep a run short."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """The command lines of its worker processes, each a program of this virtual environment and its arguments.

        ``{broker}`` in an argument is replaced by the broker's URL.
        """

    def environment(self, home: str) -> Mapping[str, str]:  # noqa: ARG002
        """Further environment variables; ``home`` is a folder for this peer alone."""
        return {}

    def preparations(self) -> list[list[str]]:
        """Commands to run once, before the first worker."""
        return []

    @abstractmethod
    def enqueue(self, job: str, argument: int) -> None:
        """Enqueue one job; ``job`` is one of ``jobs.NAMES``."""

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        """Enqueue one job for each argument, with single calls."""
        for argument in arguments:
            self.enqueue(job, argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        """Enqueue one job for each argument in the library's own way (``bulk``); without one, with single calls."""
        self.enqueue_each(job, arguments)
