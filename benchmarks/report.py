"""Writes the report in Markdown: a table per server, the goals, the peers' configurations, the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from . import imports, quiet
from .goals import FACTORS, MILLISECONDS, PERCENT, TIMES, Goal, goals
from .parameters import OPTIONS
from .results import ALIKE, Results, differ
from .trial import BULK, IDLE_SECONDS, MANY, WATCHED_JOBS


def _rate(value: float) -> str:
    return f"{value:,.0f}"


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.1f}"


def _megabytes(value: float) -> str:
    return f"{value / 2**20:.0f}"


def _percent(value: float) -> str:
    return f"{value * 100:.1f}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: ``share`` is the quantile of a figure with many samples."""

    title: str
    figure: str
    written: Callable[[float], str]
    share: float | None = None

    def cell(self, results: Results, server: str, peer: str) -> str:
        """The median, and the least and the greatest round where they differ; empty if not measured."""
        if self.share is None:
            value = results.median(server, peer, self.figure)
        else:
            value = results.quantile(server, peer, self.figure, self.share)
        if value is None:
            return ""
        spread = differ(results.by_round(server, peer, self.figure, self.share).values())
        return self.written(value) + (
            f" ({self.written(spread[0])}–{self.written(spread[1])})" if spread else ""
        )


COLUMNS = (
    Column("enqueue/s", "enqueue", _rate),
    Column("bulk/s", "enqueue_bulk", _rate),
    Column(f"{MANY:,} in one call, jobs/s", "many", _rate),
    Column("drain/s", "drain", _rate),
    Column("drain/s, 5 ms job", "io", _rate),
    Column("drain/s, +2 ms", "far", _rate),
    Column("start p50, ms", "latency", _milliseconds, 0.5),
    Column("start p99, ms", "latency", _milliseconds, 0.99),
    Column("memory, MiB", "memory", _megabytes),
    Column("idle worker, % of a core", "idle", _percent),
    Column("10,000 queued, drain/s", "queued_10000", _rate),
    Column("1,000,000 queued, drain/s", "queued_1000000", _rate),
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
- **import time** (in the goals): user and system time of fresh interpreters, median of {imports}, in turn, without that
  of an interpreter that does nothing.

The servers are private to the run and write nothing to a disk: Redis and Valkey have no append-only file, and RabbitMQ
keeps its folder in memory. That favours all peers, and most of all those that ask for more confirmations.

Python's bytecode is compiled for all: ours before the run, the others' when pip installed them."""

QUIETNESS = """\
## How quiet the machine was

Before each peer's turn the run looks at the machine for half a second. It waits, up to {wait:g} s each time and
{whole:g} s in all, until

- the hypervisor gives at most {most_steal:g} % of the time to other machines ("steal"),
- other processes use at most {most_others:g} of a core, and
- a fixed calculation takes at most {slowest:.0f} % longer than the shortest of the run.

A row is marked with the number of its rounds that began on a noisy machine in spite of that, or that lost more than
{most_steal:g} % to steal. Where rounds differ by more than {alike:g} %, the least and the greatest follow the median.

| | median | worst |
|---|--:|--:|
| steal before a turn, % | {steal} |
| steal during a turn, % | {steal_during} |
| other processes, cores | {others} |
| the calculation, × the shortest | {slowness} |

{noisy} of {turns} turns were noisy. The load before the run was {load:.1f}, and it waited {waited:.0f} s in all."""


def page(results: Results, plot: str, data: str) -> str:
    """The whole page; ``plot`` and ``data`` are the names of the files in the same folder."""
    about = results.about
    added = about.get("added_round_trip", {})
    explanation = EXPLANATION.format(
        rounds=about["total_rounds"],
        bulk=f"{BULK:,}",
        added=", ".join(f"{seconds * 1000:.2f} ms" for seconds in added.values()) or "not used in this run",
        idle=IDLE_SECONDS,
        imports=imports.TIMES,
        watched=f"{WATCHED_JOBS:,}",
    )
    parts = [
        "# Benchmarks",
        f"`make bench` made this page on {about['made']}. [{data}]({data}) contains every round.",
        explanation,
        _quietness(results),
        f"![drain and enqueue rates]({plot})",
        *(_section(results, server) for server in results.servers()),
        _goals(results),
        _configuration(results),
        _machine(results),
        _options(),
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
    found = _with_unit(goal.value, goal.unit)
    if goal.rounds:
        found += f" ({_number(goal.rounds[0], goal.unit)}–{_number(goal.rounds[1], goal.unit)})"
    wanted = "" if goal.wanted is None else f"{sign} {goal.wanted * FACTORS[goal.unit]:g} {goal.unit}"
    verdict = {True: "yes", False: "**no**", None: ""}[goal.reached]
    return f"| {goal.server or 'none'} | {goal.what} | {found} | {wanted} | {verdict} |"


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value, unit)} {unit}"


def _number(value: float, unit: str) -> str:
    digits = {TIMES: 2, PERCENT: 2, MILLISECONDS: 1}[unit]
    return f"{value * FACTORS[unit]:.{digits}f}"


def _quietness(results: Results) -> str:
    """How a quiet machine was made sure of, and how quiet it was."""
    about = results.about
    rounds = [found for found in results.rounds if found.conditions]
    if not rounds:
        return ""

    def values(name: str, factor: float = 1) -> str:
        found = [factor * one.conditions[name] for one in rounds]
        return f"{statistics.median(found):.2f} | {max(found):.2f}"

    return QUIETNESS.format(
        wait=about["wait"],
        whole=quiet.WAIT_IN_ALL,
        most_steal=quiet.MOST_STEAL * 100,
        most_others=quiet.MOST_OTHERS,
        slowest=(quiet.SLOWEST - 1) * 100,
        alike=ALIKE * 100,
        steal=values("steal", 100),
        steal_during=values("steal_during", 100),
        others=values("others"),
        slowness=values("slowness"),
        noisy=sum(one.noisy for one in rounds),
        turns=len(rounds),
        load=about["load_before"],
        waited=about.get("waited", 0.0),
    )


def _options() -> str:
    lines = [
        "## Options",
        "",
        "`make bench` takes these, as in `make bench PEERS=huey,rq ONLY=drain ROUNDS=5`:",
        "",
    ]
    lines += ["| option | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in OPTIONS.items())]
    return "\n".join(lines)


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
        f"{machine['kernel']}, Python {machine['python']}."
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
    columns = [c for c in COLUMNS if any(c.cell(results, server, peer) for peer in peers)]
    lines = ["| | " + " | ".join(column.title for column in columns) + " |"]
    lines.append("|---|" + "--:|" * len(columns))
    for peer in peers:
        cells = [column.cell(results, server, peer) for column in columns]
        lines.append(f"| {peer}{_marks(results, server, peer)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _marks(results: Results, server: str, peer: str) -> str:
    noisy, rounds = results.noisy(server, peer)
    marks = ["failed"] if results.failures(server, peer) else []
    if noisy:
        marks.append(f"{noisy} of {rounds} noisy")
    return f" ({', '.join(marks)})" if marks else ""


def _failures(results: Results, server: str) -> str:
    found = [(peer, text) for peer in results.peers(server) for text in results.failures(server, peer)]
    return "\n".join(f"- {peer} failed: {text}" for peer, text in found)
