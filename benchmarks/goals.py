"""The goals of a run: ratios of its medians."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .results import Results

OURS = ("nightshift-prefork", "nightshift-threads", "nightshift-solo")
NOT_PEERS = ("nightshift", "lease-transport", "by-hand")


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: ``value`` should be at least (or, with ``at_most``, at most) ``wanted``; None: only reported."""

    server: str
    what: str
    value: float
    wanted: float | None = None
    at_most: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a wanted value."""
        if self.wanted is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def goals(results: Results) -> list[Goal]:
    """All goals for which this run has the figures."""
    return [goal for server in results.servers() for goal in _of_server(results, server)]


def _of_server(results: Results, server: str) -> Iterator[Goal]:
    def figure(peer: str, name: str) -> float | None:
        return results.median(server, peer, name)

    def ratio(
        what: str, over: float | None, under: float | None, wanted: float | None = None
    ) -> Iterator[Goal]:
        if over is not None and under:
            yield Goal(server, what, over / under, wanted)

    stock = "celery-prefork-quorum" if server == "rabbitmq" else "celery-prefork"
    ours = {peer: rate for peer in OURS if (rate := figure(peer, "drain"))}
    theirs = {
        peer: rate
        for peer in results.peers(server)
        if not peer.startswith(NOT_PEERS) and (rate := figure(peer, "drain"))
    }
    yield from ratio(
        f"drain in prefork, against {stock}",
        figure("nightshift-prefork", "drain"), figure(stock, "drain"), 3,
    )  # fmt: skip
    if ours and theirs:
        best, fastest = max(ours, key=ours.__getitem__), max(theirs, key=theirs.__getitem__)
        yield Goal(server, f"drain of the best pool ({best}), against the fastest peer ({fastest})",
                   ours[best] / theirs[fastest], 1.5)  # fmt: skip
    one, many = figure("nightshift-prefork", "enqueue"), figure("nightshift-prefork", "enqueue_bulk")
    yield from ratio("`enqueue_many`, against single `delay()`", many, one, 10)
    yield from ratio(f"`delay()`, against {stock}", one, figure(stock, "enqueue"), 2)
    yield from ratio("`delay()`, against dramatiq's `send()`", one, figure("dramatiq", "enqueue"), 1)
    yield from ratio("`delay()`, against huey", one, figure("huey", "enqueue"))
    yield from ratio("`delay()`, against the message made by hand", one, figure("by-hand", "enqueue"))
    alone = "drain of the transport alone, under plain Celery"
    yield from ratio(
        f"{alone}, in prefork, against {stock}",
        figure("lease-transport-prefork", "drain"), figure(stock, "drain"),
    )  # fmt: skip
    if theirs:
        fastest = max(theirs, key=theirs.__getitem__)
        yield from ratio(
            f"{alone}, in solo, against the fastest peer ({fastest})",
            figure("lease-transport-solo", "drain"), theirs[fastest],
        )  # fmt: skip
    for peer in OURS:
        yield from ratio(f"drain with 2 ms more, {peer}", figure(peer, "far"), figure(peer, "drain"), 0.7)
    for peer in OURS:
        yield from ratio(
            f"drain at 1,000,000 queued, against 10,000, {peer}",
            figure(peer, "queued_1000000"), figure(peer, "queued_10000"), 0.9,
        )  # fmt: skip
    for peer in OURS:
        if (idle := figure(peer, "idle")) is not None:
            yield Goal(server, f"idle worker, of a core, {peer}", idle, 0.01, at_most=True)
