"""``make chaos``: runs every fault on every broker and prints a table; exit code 1 if a guarantee was broken."""

from __future__ import annotations

import logging
import platform
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from . import beat_places, table
from .environment import Environment
from .faults import OF_CLUSTERS, Fault, faults_of
from .parameters import Parameters, WrongParameter
from .trial import Outcome

NOT_KINDS = 2
"""Faults of which a mixed trial does not consist: itself, and retries."""
NOT_STOCK = {Fault.DATABASE_AWAY, *OF_CLUSTERS}
"""Faults of what stock Celery does not have."""


def main() -> int:
    """Run the trials; returns 0, 1 if a guarantee was broken, or 2 if the trials could not run."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        wanted = Parameters.of()
    except WrongParameter as exc:
        print(exc, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="nightshift-chaos-"))
    logging.basicConfig(filename=folder / "producer.log", level=logging.INFO)
    began = time.monotonic()
    try:
        broken = [outcome for outcome in _run(wanted, folder) if outcome.broken] if wanted.faults else []
        beats_broken = beat_places.run(wanted, folder, partial(print, flush=True))
    except (pytest.skip.Exception, pytest.fail.Exception) as exc:  # a program is missing, says servers.py
        print(exc, file=sys.stderr)
        shutil.rmtree(folder)
        return 2
    except KeyboardInterrupt:
        print(f"\nInterrupted; what it started is gone. The ledger and logs are in {folder}", file=sys.stderr)
        return 130
    print(f"{time.monotonic() - began:.0f} s")
    if broken or beats_broken:
        return _explain([*map(table.complaint, broken), *beats_broken], folder, stock=wanted.stock)
    shutil.rmtree(folder)
    return 0


def _run(wanted: Parameters, folder: Path) -> list[Outcome]:
    system = "stock Celery" if wanted.stock else "Nightshift"
    print(
        f"Chaos on {system}, Python {platform.python_version()}: JOBS={wanted.jobs} KILLS={wanted.kills} "
        f"SEED={wanted.seed}, times in seconds\n{table.head()}",
        flush=True,
    )
    outcomes = []
    for broker in wanted.brokers:
        if wanted.stock and broker == "cluster":
            continue  # stock Celery knows no cluster
        with Environment(broker, folder, stock=wanted.stock, pool=wanted.pool) as environment:
            for fault in wanted.faults:
                if fault not in faults_of(broker) or (wanted.stock and fault in NOT_STOCK):
                    continue
                kills = (
                    max(wanted.kills, len(faults_of(broker)) - NOT_KINDS)
                    if fault is Fault.MIXED
                    else wanted.kills
                )
                outcome = environment.run(
                    fault, jobs=wanted.jobs, kills=kills, seed=wanted.seed, prefetch=wanted.prefetch
                )
                print(table.line(outcome), flush=True)
                outcomes.append(outcome)
    return outcomes


def _explain(broken: list[str], folder: Path, *, stock: bool) -> int:
    full = "\n".join(broken)
    (folder / "broken.txt").write_text(full + "\n")
    print("\nStock Celery did not hold:" if stock else "\nBroken guarantees:")
    print("\n".join(table.shortened(text) for text in full.splitlines()))
    print(f"All of it, the ledgers and the logs are in {folder}")
    return 0 if stock else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
