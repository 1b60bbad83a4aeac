"""The goals of a run: ratios of its medians, and a few figures by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .imports import LIBRARIES
from .peers import BASE, COMPARED
from .results import Results, differ

PREFORK = "nightshift-prefork"
POOLS = (COMPARED, PREFORK, "nightshift-threads", "nightshift-solo")
NOT_PEERS = ("nightshift", "lease-transport", "by-hand")
TIMES, PERCENT, MILLISECONDS = "×", "%", "ms"
FACTORS = {TIMES: 1, PERCENT: 100, MILLISECONDS: 1000}


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: ``value`` should be at least (or, with ``at_most``, at most) ``wanted``; None: only reported.

    ``rounds``: the least and the greatest value of single rounds, if they differ much.
    """

    server: str
    what: str
    value: float
    wanted: float | None = None
    at_most: bool = False
    unit: str = TIMES
    rounds: tuple[float, float] | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a wanted value."""
        if self.wanted is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def goals(results: Results) -> list[Goal]:
    """All goals for which this run has the figures."""
    found = [goal for server in results.servers() for goal in _OfServer(results, server).all()]
    return [*found, *_imports(results)]


class _OfServer:
    """The goals of one server."""

    def __init__(self, results: Results, server: str) -> None:
        self.results, self.server = results, server
        self.stock = "celery-prefork-quorum" if server == "rabbitmq" else "celery-prefork"
        peers = [peer for peer in results.peers(server) if results.median(server, peer, "drain")]
        self.fastest = self._first([peer for peer in peers if not peer.startswith(NOT_PEERS)])
        self.best = self._first([peer for peer in peers if peer in POOLS])

    def _first(self, peers: list[str]) -> str | None:
        return max(
            peers, key=lambda peer: self.results.median(self.server, peer, "drain") or 0.0, default=None
        )

    def all(self) -> Iterator[Goal]:
        """In the order of the report."""
        yield from self._drain()
        yield from self._enqueue()
        yield from self._start()
        yield from self._distance_and_depth()
        yield from self._resources()

    def _drain(self) -> Iterator[Goal]:
        rabbitmq = self.server == "rabbitmq"
        what = f"drain of {COMPARED}, against"
        if rabbitmq:  # with the multiplier that our docs recommend there for short jobs
            for peer, least in ((self.stock, 2), ("dramatiq", 1)):
                yield from self._ratio(f"drain of {PREFORK}, against {peer}", "drain", PREFORK, peer, least)
                yield from self._ratio(f"{what} {peer}", "drain", COMPARED, peer)
            return
        yield from self._ratio(f"{what} {self.stock}", "drain", COMPARED, self.stock, 5)
        if self.fastest:
            yield from self._ratio(
                f"{what} the fastest peer ({self.fastest})", "drain", COMPARED, self.fastest, 1.3
            )
        if self.fastest and self.best:
            what = f"drain of the best pool ({self.best}), against the fastest peer ({self.fastest})"
            yield from self._ratio(what, "drain", self.best, self.fastest, 1.4)

    def _enqueue(self) -> Iterator[Goal]:
        redis = self.server != "rabbitmq"
        wanted = {
            self.stock: 2.5 if redis else None,
            "dramatiq": 1.0,
            "huey": 0.75,
            "potatoq": None,
            "by-hand": None,
        }
        for peer, least in wanted.items():
            yield from self._ratio(f"`delay()`, against {peer}", "enqueue", COMPARED, peer, least)
        if BASE in self.results.peers(self.server):
            commit = self.results.about.get("base", "")
            what = f"`enqueue_many`, 60,000 in one call, against {commit}"
            yield from self._ratio(what, "many", COMPARED, BASE, 1.5)
            yield from self._ratio(f"`delay()`, against {commit}", "enqueue", COMPARED, BASE)
            yield from self._ratio(f"drain of {COMPARED}, against {commit}", "drain", COMPARED, BASE)
        one, many = self._median(COMPARED, "enqueue"), self._median(COMPARED, "enqueue_bulk")
        if one and many:
            yield Goal(self.server, "`enqueue_many`, against single `delay()`", many / one)

    def _start(self) -> Iterator[Goal]:
        for name, share, most in (("p50", 0.5, 0.0015), ("p99", 0.99, 0.005)):
            value = self.results.quantile(self.server, COMPARED, "latency", share)
            if value is not None:
                rounds = differ(self.results.by_round(self.server, COMPARED, "latency", share).values())
                yield Goal(
                    self.server, f"start {name} on an idle queue, {COMPARED}", value, most, True, MILLISECONDS, rounds
                )  # fmt: skip

    def _distance_and_depth(self) -> Iterator[Goal]:
        for peer in POOLS:
            yield from self._own(f"drain with 2 ms more, {peer}", peer, "far", "drain", 0.9)
        what = f"drain at 1,000,000 queued, against 10,000, {COMPARED}"
        yield from self._own(what, COMPARED, "queued_1000000", "queued_10000", 0.9)

    def _resources(self) -> Iterator[Goal]:
        what = f"memory of a worker, {COMPARED} against {self.stock}"
        yield from self._ratio(what, "memory", COMPARED, self.stock, 1.3, at_most=True)
        for peer in POOLS:
            if (idle := self._median(peer, "idle")) is not None:
                what = f"idle worker, of a core, {peer}"
                yield Goal(self.server, what, idle, 0.004, True, PERCENT)

    def _ratio(
        self,
        what: str,
        figure: str,
        over: str,
        under: str,
        wanted: float | None = None,
        *,
        at_most: bool = False,
    ) -> Iterator[Goal]:
        """``figure`` of one peer against another's."""
        return self._of((over, figure), (under, figure), what, wanted, at_most=at_most)

    def _own(self, what: str, peer: str, over: str, under: str, wanted: float) -> Iterator[Goal]:
        """One figure of a peer against another of its figures."""
        return self._of((peer, over), (peer, under), what, wanted)

    def _of(
        self,
        over: tuple[str, str],
        under: tuple[str, str],
        what: str,
        wanted: float | None,
        *,
        at_most: bool = False,
    ) -> Iterator[Goal]:
        first, second = self._median(*over), self._median(*under)
        if first is None or not second:
            return
        firsts = self.results.by_round(self.server, *over)
        seconds = self.results.by_round(self.server, *under)
        ratios = [firsts[number] / seconds[number] for number in firsts if seconds.get(number)]
        yield Goal(self.server, what, first / second, wanted, at_most, TIMES, differ(ratios))

    def _median(self, peer: str, figure: str) -> float | None:
        return self.results.median(self.server, peer, figure)


def _imports(results: Results) -> Iterator[Goal]:
    """Processor time of imports against the libraries that an app needs anyway."""
    seconds = results.about.get("imports")
    if not seconds:
        return
    against = f"against `import {LIBRARIES}`"
    package, app = seconds["package"] / seconds["libraries"], seconds["app"] / seconds["libraries"]
    yield Goal("", f"import time of `flask_nightshift`, {against}", package, 1.3, at_most=True)
    yield Goal("", f"import and an app with it, {against}", app, 1.3, at_most=True)
    what = "import and an app with it, against the same libraries' objects made by hand"
    yield Goal("", what, seconds["app"] / seconds["app_by_hand"])
