"""The jobs, the same code for every library: run in its workers, and counted on a Redis of our own choosing.

A job first looks whether the gate (a file) is there. While it is not, jobs wait, so that a queue can be filled
and every worker process be at work before the clock starts. Each process says once that it is there.
"""

from __future__ import annotations

import os
import time
from functools import cache

import redis

COUNTER_URL = "BENCH_COUNTER_URL"
BROKER_URL = "BENCH_BROKER_URL"
GATE = "BENCH_GATE"
DONE, PROCESSES, LATENCIES = "bench:done", "bench:processes", "bench:latencies"
NAMES = ("noop", "pause", "stamp")
PAUSE_SECONDS = 0.005
GATE_POLL_SECONDS = 0.01


def noop(number: int) -> None:  # noqa: ARG001 - a job has an argument
    """Nothing but to be counted."""
    pass_gate()
    count()


def pause(number: int) -> None:  # noqa: ARG001
    """Wait for 5 ms, as for a database or a partner, and be counted."""
    pass_gate()
    time.sleep(PAUSE_SECONDS)
    count()


def stamp(sent_ns: int) -> None:
    """Note how long the job was on its way: ``sent_ns`` is ``time.monotonic_ns()``, one clock for all processes."""
    taken = time.monotonic_ns() - sent_ns
    counter(os.getpid()).rpush(LATENCIES, taken)


def broker_url() -> str:
    """Of the broker under test. The default connects to nothing: the harness reads the peers' descriptions, too."""
    return os.environ.get(BROKER_URL, "redis://localhost:1/0")


@cache
def counter(pid: int) -> redis.Redis:
    """The client of this process: one per process, since a fork must not share its parent's connection."""
    client = connect(os.environ[COUNTER_URL])
    client.sadd(PROCESSES, pid)
    return client


def connect(url: str) -> redis.Redis:
    """A client that is patient with a busy machine."""
    return redis.Redis.from_url(url, socket_timeout=60)


def count() -> None:
    """Count a finished job."""
    counter(os.getpid()).incr(DONE)


def pass_gate() -> None:
    """Go on when the gate is open."""
    gate = os.environ[GATE]
    if os.path.exists(gate):
        return
    counter(os.getpid())
    while not os.path.exists(gate):
        time.sleep(GATE_POLL_SECONDS)
