"""The faults of Beats on each pair of a broker and a database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from servers import Postgres

from . import table
from .beat_faults import BeatFault, BeatOutcome, BeatTrial
from .brokers import BROKERS
from .parameters import Parameters
from .ticks import Ticks

DATABASES = {"valkey": "sqlite", "rabbitmq": "postgres"}
"""By the broker; Redis runs the same scripts as Valkey."""
SHARE = 4


def run(wanted: Parameters, folder: Path, show: Callable[[str], object]) -> list[str]:
    """Run the chosen faults, and show a table; returns what was broken."""
    broken: list[str] = []
    if not wanted.beat_faults or wanted.stock:
        return broken
    show(f"\nBeats: SECONDS={wanted.seconds} SEED={wanted.seed}\n{table.head(table.BEAT_WIDTHS)}")
    for broker in (name for name in wanted.brokers if name in DATABASES):
        with ExitStack() as stack:
            server = stack.enter_context(closing(BROKERS[broker]().start()))
            postgres = DATABASES[broker] == "postgres" and stack.enter_context(closing(Postgres().start()))
            for fault in wanted.beat_faults:
                home = folder / f"{broker}-{fault.value}"
                home.mkdir()
                url = postgres.fresh_url() if postgres else f"sqlite:///{home}/history.sqlite3"
                outcome = _trial(fault, wanted, Ticks(home, server.fresh_url(), url), server)
                show(table.beat_line(outcome, broker, DATABASES[broker]))
                broken += [
                    f"  {fault.value} on {broker} (SEED={wanted.seed}): {text}" for text in outcome.broken
                ]
    return broken


def _trial(fault: BeatFault, wanted: Parameters, ticks: Ticks, server: object) -> BeatOutcome:
    seconds = wanted.seconds if fault is BeatFault.BEAT_KILL else wanted.seconds / SHARE
    with closing(ticks):
        return BeatTrial(ticks, server, seconds, wanted.seed).run(fault)
