"""``python -m benchmarks``: reads parameters from the environment (see the Makefile), prints tables."""

from __future__ import annotations

import os
import signal
import sys
import threading
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
    results = Results()
    try:
        measure(parameters, results, _interruptible())
    except KeyboardInterrupt:
        print("interrupted; what was found until then:\n", file=sys.stderr)
        print(report.tables(results))
        return 130
    print("\n" + report.tables(results))
    if parameters.out is not None:
        write(results, parameters.out)
    return 1 if any(found.failures for found in results.rounds) else 0


def write(results: Results, folder: Path) -> None:
    """Write the page, all rounds as JSON, and the plot into ``folder``."""
    from . import plot  # imported here, because a partial run needs no matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / DATA)
    plot.draw(results, folder / PLOT)
    (folder / PAGE).write_text(report.page(results, PLOT, DATA))
    print(f"written: {folder / PAGE}, {folder / DATA}, {folder / PLOT}")


def _interruptible() -> threading.Event:
    """Ctrl-C and SIGTERM raise ``KeyboardInterrupt`` and set this event.

    Python discards an exception that a signal raises within a finalizer or a hook of fork; then the event ends the run.
    """
    interrupted = threading.Event()

    def interrupt(number: int, frame: Any) -> NoReturn:  # noqa: ARG001
        interrupted.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    return interrupted


if __name__ == "__main__":
    sys.exit(main())
