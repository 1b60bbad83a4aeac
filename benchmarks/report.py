"""Writes the report in Markdown: a table per server, the goals, the peers' configurations, the machine."""

from __future__ import annotations

from collections.abc import Callable

from .goals import Goal, goals
from .results import Results
from .trial import BULK, IDLE_SECONDS, WATCHED_JOBS

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
    ("idle worker, % of a core", _median("idle"), _percent),
    ("10,000 queued, drain/s", _median("queued_10000"), _rate),
    ("1,000,000 queued, drain/s", _median("queued_1000000"), _rate),
)


EXPLANATION = """\
All peers run in one benchmark, on one machine and one server, with their rounds interleaved. Each figure is the median
of {rounds} rounds (idle: of one). Every peer has two worker processes. Absolute figures differ between runs and
machines, so compare only within a table.

- **enqueue/s**: single calls of `delay()`, `send()` and their like, one after another, without workers. **bulk/s**: the
  library's own way to enqueue many jobs, {bulk} at a time; empty if it has none.
- **drain/s**: a job that only increments a key on a Redis server (`INCR`) through a cached client, with the same code
  for every peer. The queue is filled while jobs wait at a gate; then the clock starts, so the start of workers does not
  count. **5 ms job**: the same after a sleep of 5 ms. Prefork, solo and process workers run two jobs at a time, so
  their limit is 400/s.
- **+2 ms**: the workers reach the broker through a proxy that adds 1 ms each way (measured: {added}). Counting bypasses
  the proxy. The proxy runs on the same cores.
- **start p50, p99**: the time from before the enqueuing call to the first line of the job, on an idle queue.
- **memory**: the peak of the whole tree of worker processes, with shared memory counted once (PSS). **idle**: processor
  time of one worker, including its children, over {idle} s without jobs.
- **10,000 and 1,000,000 queued**: the rate of the first {watched} jobs of a queue of that length.

The servers are private to the run and write nothing to a disk: Redis and Valkey have no append-only file, and RabbitMQ
keeps its folder in memory. That favours all peers, and most of all those that ask for more confirmations."""


def page(results: Results, plot: str, data: str) -> str:
    """The whole page; ``plot`` and ``data`` are the names of the files in the same folder."""
    about = results.about
    added = about.get("added_round_trip", {})
    explanation = EXPLANATION.format(
        rounds=about["total_rounds"],
        bulk=f"{BULK:,}",
        added=", ".join(f"{seconds * 1000:.2f} ms" for seconds in added.values()) or "not used in this run",
        idle=IDLE_SECONDS,
        watched=f"{WATCHED_JOBS:,}",
    )
    parts = [
        "# Benchmarks",
        f"`make bench` made this page on {about['made']}. [{data}]({data}) contains every round.",
        explanation,
        f"![drain and enqueue rates]({plot})",
        *(_section(results, server) for server in results.servers()),
        _goals(results),
        _configuration(results),
        _machine(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goals(results: Results) -> str:
    found = goals(results)
    if not found:
        return ""
    lines = ["## Goals", "", "| server | figure | measured | wanted | reached |", "|---|---|--:|--:|---|"]
    lines += [_goal(goal) for goal in found]
    return "\n".join(lines)


def _goal(goal: Goal) -> str:
    sign = "≤" if goal.at_most else "≥"
    percent = goal.at_most
    found = f"{goal.value * 100:.1f} %" if percent else f"{goal.value:.2f} ×"
    wanted = ""
    if goal.wanted is not None:
        wanted = f"{sign} {goal.wanted * 100:g} %" if percent else f"{sign} {goal.wanted:g} ×"
    verdict = {True: "yes", False: "**no**", None: ""}[goal.reached]
    return f"| {goal.server} | {goal.what} | {found} | {wanted} | {verdict} |"


def _configuration(results: Results) -> str:
    lines = ["## How the peers are configured", ""]
    for peer, how in results.about["peers"].items():
        bulk = results.about["bulk"][peer]
        lines.append(f"- **{peer}**: {how}. Bulk: {bulk or 'no way of its own'}.")
    return "\n".join(lines)


def _machine(results: Results) -> str:
    machine, versions = results.about["machine"], results.about["versions"]
    lines = ["## Machine and versions", ""]
    lines.append(
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory']}, {machine['system']}, "
        f"{machine['kernel']}, Python {machine['python']}; "
        f"load of the machine before the run: {results.about['load_before']:.1f}."
    )
    lines.append("")
    lines.append(", ".join(f"{name} {version}" for name, version in versions.items()) + ".")
    return "\n".join(lines)


def tables(results: Results) -> str:
    """Only the tables, which a partial run prints."""
    parts = [*(_section(results, server) for server in results.servers()), _goals(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(results: Results, server: str) -> str:
    parts = [f"## {results.about['servers'].get(server, server)}", _table(results, server)]
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
