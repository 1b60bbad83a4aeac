"""The jobs: each library's workers run the same code, which counts finished jobs on a Redis server of the harness.

A job first waits until the gate (a file) exists. So the harness can fill the queue and start all worker processes
before the clock starts. Each process registers once.
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
    """Do nothing but count."""
    pass_gate()
    count()


def pause(number: int) -> None:  # noqa: ARG001
    """Wait for 5 ms, as for a database or another service, then count."""
    pass_gate()
    time.sleep(PAUSE_SECONDS)
    count()


def stamp(sent_ns: int) -> None:
    """Record the time from ``sent_ns`` (``time.monotonic_ns()``, the same clock in all processes) to here."""
    taken = time.monotonic_ns() - sent_ns
    counter(os.getpid()).rpush(LATENCIES, taken)


def broker_url() -> str:
    """The URL of the broker under test. The harness also imports the peers; its default is never connected to."""
    return os.environ.get(BROKER_URL, "redis://localhost:1/0")


@cache
def counter(pid: int) -> redis.Redis:
    """The client of this process; a forked child gets its own, not the parent's connection."""
    client = connect(os.environ[COUNTER_URL])
    client.sadd(PROCESSES, pid)
    return client


def connect(url: str) -> redis.Redis:
    """A client with a timeout long enough for a busy machine."""
    return redis.Redis.from_url(url, socket_timeout=60)


def count() -> None:
    """Count a finished job."""
    counter(os.getpid()).incr(DONE)


def pass_gate() -> None:
    """Return when the gate is open."""
    gate = os.environ[GATE]
    if os.path.exists(gate):
        return
    counter(os.getpid())
    while not os.path.exists(gate):
        time.sleep(GATE_POLL_SECONDS)
