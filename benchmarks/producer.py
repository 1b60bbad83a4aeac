"""The process that enqueues for one peer: it reads orders as JSON lines and answers each with a JSON line.

Orders: ``{"do": "rate" | "bulk_rate" | "many" | "fill" | "latency", …}``; the answer is ``{"value": …}`` or
``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from . import jobs, peers
from .peers import Peer

CHUNK = 50
"""The number of single calls between two readings of the clock."""
IDLE_SECONDS = (0.02, 0.06)
"""The range of seconds for which the queue stays idle before each job of the latency measurement."""
WARM_UP = 20


def rate(peer: Peer, seconds: float) -> float:
    """Single calls per second, measured over ``seconds``."""
    peer.enqueue_each("noop", range(WARM_UP))
    begun, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < seconds:
        peer.enqueue_each("noop", range(CHUNK))
        count += CHUNK
    return count / taken


def bulk_rate(peer: Peer, seconds: float, size: int) -> float:
    """Jobs per second, enqueued ``size`` at a time."""
    peer.enqueue_many("noop", range(WARM_UP))
    begun, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < seconds:
        peer.enqueue_many("noop", range(size))
        count += size
    return count / taken


def many(peer: Peer, size: int) -> dict[str, float]:
    """Seconds, and seconds of this process's CPU time, of one call that enqueues ``size`` jobs."""
    peer.enqueue_many("noop", range(WARM_UP))
    begun, used = time.perf_counter(), time.process_time()
    peer.enqueue_many("noop", range(size))
    return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}


def fill(peer: Peer, job: str, count: int, size: int) -> int:
    """Enqueue ``count`` jobs, ``size`` at a time."""
    for first in range(0, count, size):
        peer.enqueue_many(job, range(first, min(first + size, count)))
    return count


def latency(peer: Peer, samples: int) -> list[float]:
    """Seconds from before the call to the start of the job, one job at a time on an idle queue."""
    found = []
    with jobs.connect(os.environ[jobs.COUNTER_URL]) as counter:
        for _ in range(samples):
            time.sleep(random.uniform(*IDLE_SECONDS))
            peer.enqueue("stamp", time.monotonic_ns())
            answer: Any = counter.blpop([jobs.LATENCIES], timeout=10)
            if answer is None:
                raise TimeoutError("a job did not begin within 10 s")
            found.append(int(answer[1]) / 1e9)
    return found


ORDERS: dict[str, Callable[..., Any]] = {
    "rate": rate,
    "bulk_rate": bulk_rate,
    "many": many,
    "fill": fill,
    "latency": latency,
}


def main(name: str) -> None:
    """Serve until standard input ends; only answers go to standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    peer = peers.find(name)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = {"value": ORDERS[order.pop("do")](peer, **order)}
        except Exception as exc:  # noqa: BLE001 - an error of the peer, which its row reports
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
