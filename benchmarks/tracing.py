"""``python -m benchmarks.tracing``: what ``otel.instrument()`` costs, beside an app without it.

Each round measures both, one after the other, so what slows the machine down affects both. It prints the ratio of each
round and how busy the machine was. ``ROUNDS`` (5), ``SERVER`` (redis) and ``WAIT`` (20) are those of ``make bench``.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading

from . import machine
from .errors import WrongParameter
from .parameters import Parameters
from .peers import COMPARED, TRACED
from .results import Results
from .run import measure

FIGURES = {"enqueue": "delay(), calls/s", "drain": "two children, jobs/s"}
DEFAULTS = {"ROUNDS": "5", "SERVER": "redis"}


def main() -> int:
    """Returns the exit code: 2 for a wrong parameter, 1 if a trial failed."""
    ours = {"PEERS": f"{COMPARED},{TRACED}", "ONLY": ",".join(FIGURES)}
    try:
        parameters = Parameters.of({**DEFAULTS, **os.environ, **ours})
    except WrongParameter as exc:
        print(exc, file=sys.stderr)
        return 2
    results = Results()
    measure(parameters, results, threading.Event())
    print("\n" + "\n".join(table(results)))
    return 1 if any(found.failures for found in results.rounds) else 0


def table(results: Results) -> list[str]:
    """Lines of Markdown: the medians off and on, and the ratio of each round."""
    lines = ["| server | figure | off | on | on / off | by round |", "|---|---|---|---|---|---|"]
    for server in results.servers():
        for figure, words in FIGURES.items():
            off, on = (results.by_round(server, peer, figure) for peer in (COMPARED, TRACED))
            if ratios := [on[number] / off[number] for number in sorted(off.keys() & on.keys())]:
                each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
                medians = f"{statistics.median(off.values()):,.0f} | {statistics.median(on.values()):,.0f}"
                lines.append(f"| {server} | {words} | {medians} | {statistics.median(ratios):.2f} | {each} |")
        noisy = [results.noisy(server, peer) for peer in (COMPARED, TRACED)]
        lines.append(
            f"\n{sum(n for n, _ in noisy)} of {sum(of for _, of in noisy)} trials on {server} while the machine was "
            f"busy; load {results.about['load_before']:.1f} before, {machine.load():.1f} after."
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
