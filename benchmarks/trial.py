"""One trial: one peer, one round, and the requested measures, in stages.

A stage has an empty broker, a process that enqueues, and (except the first) two worker processes:

- ``enqueue``: no workers.
- ``near``: drain, I/O-bound drain, latency, memory, idle; the workers start once.
- ``far``: the workers reach the broker through a proxy that adds 2 ms to every round trip.
- ``million``: the beginning of a drain, with many and with few queued jobs (only for lists in Redis).
- ``many``: one call that enqueues very many jobs, without workers (only on Redis, and only beside another commit).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from . import jobs
from .copies import multiply
from .errors import PeerFailed
from .orders import Producer
from .peers import Peer
from .peers.base import PROCESSES, REDIS
from .processes import Tree
from .proxy import Proxy
from .servers import Site

ENQUEUE_SECONDS = 1.5
DRAIN_SECONDS = 2.0
"""The intended length of a drain; it and the peer's previous rate give the number of jobs."""
SHORTEST_DRAIN = 1.0
"""A shorter drain is repeated with more jobs."""
FEWEST_JOBS, MOST_JOBS = 1000, 40_000
"""The number of jobs in a drain: more than any peer prefetches, and few enough to enqueue in reasonable time."""
BULK = 1000
"""Jobs per call of a bulk enqueue."""
LATENCY_SAMPLES = 60
IDLE_SECONDS = 10
NEAR = frozenset({"drain", "io", "latency", "memory", "idle"})
"""Measures that share the stage ``near``."""
DEPTHS = (10_000, 1_000_000)
"""The numbers of queued jobs for the measure ``million``, which covers only the beginning of the drain."""
WATCHED_JOBS, WATCHED_SECONDS = 8000, 10.0
"""The number of jobs and the maximum seconds of that beginning; the seconds also limit the first drain of ``far``."""
MANY = 60_000
"""The jobs of the one call of the measure ``many``."""
WARM_UP_SECONDS = 5.0
"""If a peer needs longer for its first drain of ``far``, that drain is its result, because the distance dominates."""
BOOT_SECONDS = 40
DRAIN_TIMEOUT = 60
POLL_SECONDS = 0.01


@dataclass
class Figures:
    """The results of a trial. Rates in jobs per second, times in seconds, memory in bytes, idle in cores."""

    values: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


class Trial:
    """One peer on one site; ``guesses`` keeps its rates from trial to trial."""

    def __init__(self, peer: Peer, site: Site, folder: Path, guesses: dict[str, float]) -> None:
        self.peer, self.site, self.folder, self.guesses = peer, site, folder, guesses
        self.gate = folder / "gate"
        self.figures = Figures()
        self.peak = 0
        self.proxy: Proxy | None = None
        self.workers: list[Tree] = []
        folder.mkdir(exist_ok=True)

    def run(self, measures: frozenset[str]) -> Figures:
        """Take the requested measures that this peer supports."""
        wanted = measures & self.peer.measures
        if "enqueue" in wanted:
            self._stage("enqueue", self._enqueue)
        if wanted & NEAR:
            self._stage("near", lambda env: self._near(env, wanted))
        if "far" in wanted:
            self._stage("far", self._far)
        if "million" in wanted and self.site.name in REDIS:
            for depth in DEPTHS:
                self._stage("million", partial(self._deep, depth=depth))
        if "many" in wanted and self.site.name in REDIS:
            self._stage("many", self._many)
        return self.figures

    def _stage(self, name: str, stage: Callable[[dict[str, str]], None]) -> None:
        self.gate.unlink(missing_ok=True)
        env = {
            jobs.BROKER_URL: self.site.fresh_url(),
            jobs.COUNTER_URL: self.site.counting.url,
            jobs.GATE: str(self.gate),
            **self.peer.environment(str(self.folder)),
        }
        try:
            stage(env)
        except PeerFailed as exc:
            self.figures.failures[name] = str(exc)
        except Exception as exc:  # noqa: BLE001 - no error may stop the other peers
            self.figures.failures[name] = f"{type(exc).__name__}: {exc}"

    # the stages
    def _enqueue(self, env: dict[str, str]) -> None:
        with self._producer(env) as producer:
            self.figures.values["enqueue"] = producer.ask(do="rate", seconds=ENQUEUE_SECONDS)
            if self.peer.bulk:
                self.figures.values["enqueue_bulk"] = producer.ask(
                    do="bulk_rate", seconds=ENQUEUE_SECONDS / 2, size=BULK
                )

    def _near(self, env: dict[str, str], measures: frozenset[str]) -> None:
        with self._producer(env) as producer, contextlib.ExitStack() as stack:
            self._first_drain(stack, env, producer, "drain", FEWEST_JOBS)  # to warm up
            if "drain" in measures:
                self.figures.values["drain"] = self._drain(producer, "drain", "noop")
            if "io" in measures:
                self.figures.values["io"] = self._drain(producer, "io", "pause")
            self.gate.touch()
            if "latency" in measures:
                self.figures.values["latency"] = producer.ask(do="latency", samples=LATENCY_SAMPLES)
            if "memory" in measures:
                self._look_at_memory()
                self.figures.values["memory"] = self.peak
            if "idle" in measures:
                idle = self._idle()
                if idle >= 0:  # below 0 if a process ended meanwhile, as its CPU time is lost
                    self.figures.values["idle"] = idle

    def _far(self, env: dict[str, str]) -> None:
        with self._producer(env) as producer, contextlib.ExitStack() as stack:
            proxy = self.proxy = stack.enter_context(Proxy(self.site.broker.port, self.folder / "proxy.log"))
            through = {**env, jobs.BROKER_URL: proxy.url(env[jobs.BROKER_URL])}
            rate = self._first_drain(stack, through, producer, "far", FEWEST_JOBS, WATCHED_SECONDS)
            if rate * WARM_UP_SECONDS > FEWEST_JOBS:
                rate = self._drain(producer, "far", "noop")
            self.figures.values["far"] = rate
            self.figures.values["far_proxy_cpu"] = proxy.share()

    def _deep(self, env: dict[str, str], depth: int) -> None:
        with self._producer(env) as producer, contextlib.ExitStack() as stack:
            producer.ask(do="fill", job="noop", count=1, size=1)
            multiply(self.site.counter, depth)
            self._start_workers(stack, env)
            self.figures.values[f"queued_{depth}"] = self._open_gate(WATCHED_JOBS, WATCHED_SECONDS)

    def _many(self, env: dict[str, str]) -> None:
        with self._producer(env) as producer:
            answer = producer.ask(do="many", size=MANY)
            self.figures.values["many"] = MANY / answer["seconds"]
            self.figures.values["many_cpu"] = answer["cpu"] / MANY

    # their parts
    @contextlib.contextmanager
    def _producer(self, env: dict[str, str]) -> Iterator[Producer]:
        producer = Producer(self.peer, env, self.folder / "producer.log")
        try:
            yield producer
        finally:
            producer.tree.stop(1)

    def _first_drain(
        self,
        stack: contextlib.ExitStack,
        env: dict[str, str],
        producer: Producer,
        kind: str,
        count: int,
        watched: float | None = None,
    ) -> float:
        """Start the workers on a queue with ``count`` jobs, enough for both, and drain it; returns jobs per second.

        The workers run until ``stack`` closes.
        """
        producer.ask(do="fill", job="noop", count=count, size=BULK)
        self._start_workers(stack, env)
        rate = self._open_gate(count, watched)
        self.guesses.setdefault(kind, rate)
        return rate

    def _drain(self, producer: Producer, kind: str, job: str) -> float:
        """Fill the queue while the gate is closed, open the gate, and measure the drain in jobs per second."""
        for _ in range(2):
            self.gate.unlink(missing_ok=True)
            count = self._count(kind)
            producer.ask(do="fill", job=job, count=count, size=BULK)
            rate = self.guesses[kind] = self._open_gate(count)
            if count / rate >= SHORTEST_DRAIN:
                break
        return rate

    def _count(self, kind: str) -> int:
        guess = self.guesses.get(kind, 0.0)
        if kind == "io" and not guess:
            guess = min(self.peer.parallel / jobs.PAUSE_SECONDS, self.guesses["drain"])
        return int(max(FEWEST_JOBS, min(MOST_JOBS, DRAIN_SECONDS * guess)))

    def _start_workers(self, stack: contextlib.ExitStack, env: dict[str, str]) -> None:
        self.site.counter.delete(jobs.PROCESSES)
        self.workers = []
        for number, words in enumerate(self._commands(env)):
            tree = Tree(words, env, self.folder / f"worker-{number}.log", self.peer.venv)
            stack.callback(tree.stop)
            self.workers.append(tree)
        self._wait(
            lambda: self.site.counter.scard(jobs.PROCESSES) >= PROCESSES,
            BOOT_SECONDS,
            "worker processes took no job",
        )

    def _commands(self, env: dict[str, str]) -> list[list[str]]:
        """The peer's command lines, with the broker's URL filled in."""
        return [
            [word.replace("{broker}", env[jobs.BROKER_URL]) for word in words]
            for words in self.peer.commands()
        ]

    def _open_gate(self, count: int, watched: float | None = None) -> float:
        """Jobs per second until ``count`` more jobs are done, or in the first ``watched`` seconds if that is sooner.

        Raises ``PeerFailed`` if they are not done after ``DRAIN_TIMEOUT`` seconds.
        """
        before = self._done()
        if self.proxy is not None:
            self.proxy.restart_clock()
        begun = time.perf_counter()
        self.gate.touch()
        looked = begun
        while (done := self._done() - before) < count:
            now = time.perf_counter()
            if watched is not None and now - begun > watched:
                break
            if now - looked >= 1:
                looked = now
                self._check()
                self._look_at_memory()
            if now - begun > DRAIN_TIMEOUT:
                raise PeerFailed(f"{done} of {count} jobs were done after {DRAIN_TIMEOUT} s")
            time.sleep(POLL_SECONDS)
        if not done:
            raise PeerFailed(f"no job was done in {watched} s")
        return done / (time.perf_counter() - begun)

    def _done(self) -> int:
        value: Any = self.site.counter.get(jobs.DONE)
        return int(value or 0)

    def _look_at_memory(self) -> None:
        self.peak = max(self.peak, sum(tree.memory() for tree in self.workers))

    def _idle(self) -> float:
        time.sleep(1)
        before, begun = sum(tree.cpu() for tree in self.workers), time.perf_counter()
        time.sleep(IDLE_SECONDS)
        used = sum(tree.cpu() for tree in self.workers) - before
        return used / (time.perf_counter() - begun) / len(self.workers)

    def _wait(self, check: Callable[[], Any], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not check():
            self._check()
            if time.monotonic() > deadline:
                logs = "; ".join(tree.last_line() for tree in self.workers)
                raise PeerFailed(f"{what} within {seconds} s: {logs}")
            time.sleep(POLL_SECONDS)

    def _check(self) -> None:
        for tree in self.workers:
            tree.check()
