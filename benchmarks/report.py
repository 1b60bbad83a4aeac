"""The report in Markdown: a table per server, the ratios to be seen, how every peer is configured."""

from __future__ import annotations

from collections.abc import Callable

from .results import Results

Column = tuple[str, Callable[[Results, str, str], float | None], Callable[[float], str]]


def _rate(value: float) -> str:
    return f"{value:,.0f}"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.1f}"


def _megabytes(value: float) -> str:
    return f"{value / 2**20:.0f}"


def _percent(value: float) -> str:
    return f"{value * 100:.1f}"


def _median(figure: str) -> Callable[[Results, str, str], float | None]:
    return lambda results, server, peer: results.median(server, peer, figure)


def _quantile(share: float) -> Callable[[Results, str, str], float | None]:
    return lambda results, server, peer: results.quantile(server, peer, "latency", share)


COLUMNS: tuple[Column, ...] = (
    ("enqueue/s", _median("enqueue"), _rate),
    ("bulk/s", _median("enqueue_bulk"), _rate),
    ("drain/s", _median("drain"), _rate),
    ("drain/s, 5 ms job", _median("io"), _rate),
    ("drain/s, +2 ms", _median("far"), _rate),
    ("start p50, ms", _quantile(0.5), _milliseconds),
    ("start p99, ms", _quantile(0.99), _milliseconds),
    ("memory, MiB", _median("memory"), _megabytes),
    ("idle, % of a core", _median("idle"), _percent),
    ("10,000 queued, drain/s", _median("queued_10000"), _rate),
    ("1,000,000 queued, drain/s", _median("queued_1000000"), _rate),
)


def tables(results: Results) -> str:
    """The tables only: what a partial run prints."""
    return "\n\n".join(_section(results, server) for server in results.servers()) + "\n"


def _section(results: Results, server: str) -> str:
    parts = [f"## {results.about['servers'][server]}", _table(results, server)]
    if failed := _failures(results, server):
        parts.append(failed)
    return "\n\n".join(parts)


def _table(results: Results, server: str) -> str:
    peers = results.peers(server)
    columns = [c for c in COLUMNS if any(c[1](results, server, peer) is not None for peer in peers)]
    lines = ["| | " + " | ".join(title for title, _, _ in columns) + " |"]
    lines.append("|---|" + "--:|" * len(columns))
    for peer in peers:
        cells = [_cell(value(results, server, peer), written) for _, value, written in columns]
        mark = " (failed)" if results.failures(server, peer) else ""
        lines.append(f"| {peer}{mark} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, written: Callable[[float], str]) -> str:
    return "" if value is None else written(value)


def _failures(results: Results, server: str) -> str:
    found = [(peer, text) for peer in results.peers(server) for text in results.failures(server, peer)]
    return "\n".join(f"- {peer} failed: {text}" for peer, text in found)
