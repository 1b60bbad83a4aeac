"""The pools that run a worker's jobs, and their properties; our code for them is in ``worker/pools/``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool by its name in ``--pool``.

    ``blocks_loop``: a running job blocks the worker's event loop. ``one_job``: it runs one job at a time, whatever
    ``--concurrency`` says. ``forks``: jobs run in child processes.
    """

    name: str
    blocks_loop: bool = False
    one_job: bool = False
    forks: bool = False


POOLS = {
    pool.name: pool
    for pool in (
        Pool("prefork", forks=True),
        Pool("threads"),
        Pool("solo", blocks_loop=True, one_job=True),
        Pool("gevent"),
    )
}
DEFAULT = POOLS["prefork"]

__all__ = ["DEFAULT", "POOLS", "Pool"]
