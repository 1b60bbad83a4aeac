"""``python -m benchmarks``: parameters from the environment (see the Makefile), tables to standard output."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from . import report
from .errors import WrongParameter
from .parameters import Parameters
from .results import Results
from .run import measure

PAGE, DATA, PLOT = "benchmarks.md", "benchmarks.json", "benchmarks.svg"


def main() -> int:
    """Returns the exit code: 2 for a wrong parameter, 1 when a peer failed, 130 after Ctrl-C."""
    try:
        parameters = Parameters.of(os.environ)
    except WrongParameter as exc:
        print(exc, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    results = Results()
    try:
        measure(parameters, results)
    except KeyboardInterrupt:
        print("interrupted; what was found until then:\n", file=sys.stderr)
        print(report.tables(results))
        return 130
    print("\n" + report.tables(results))
    if parameters.out is not None:
        write(results, parameters.out)
    return 1 if any(found.failures for found in results.rounds) else 0


def write(results: Results, folder: Path) -> None:
    """The page, all rounds, and the plot."""
    from . import plot  # only here: a partial run needs no matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / DATA)
    plot.draw(results, folder / PLOT)
    (folder / PAGE).write_text(report.page(results, PLOT, DATA))
    print(f"written: {folder / PAGE}, {folder / DATA}, {folder / PLOT}")


def _interrupt(number: int, frame: Any) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
