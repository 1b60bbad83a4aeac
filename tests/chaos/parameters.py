"""The parameters of ``make chaos``, from the environment; the error for a wrong one says what is allowed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from flask_nightshift.domain.pools import POOLS

from .beat_faults import BeatFault
from .brokers import BROKERS
from .faults import OF_CHILDREN, Fault

T = TypeVar("T")


MEANINGS = {
    "JOBS": "jobs to enqueue for each fault on each broker",
    "KILLS": "how often to inject the fault; a third of that for slow faults, and each fault at least once in `mixed`",
    "POOL": "the workers' `--pool`; with another one than `prefork` no child is killed, and faults are not mixed",
    "PREFETCH": "jobs that a worker prefetches for each child (`worker_prefetch_multiplier`)",
    "SEED": "the same seed gives the same plan: jobs, faults, victims",
    "BROKERS": "names of brokers, with commas between them",
    "FAULTS": "names of faults, with commas between them",
    "SECONDS": "how long `beat-kill` goes on; each other fault of Beats takes a quarter of it",
    "STOCK": "1: test stock Celery, with `acks_late`, `reject_on_worker_lost`, publisher confirms and a visibility "
    "timeout of 30 s",
}
"""By name; docs/how-to/chaos.md has them from here."""
DEFAULTS = {"BROKERS": "all", "FAULTS": "all", "PREFETCH": "16 in `mixed`, else by time", "STOCK": "0"}
"""In words, where ``Parameters`` has another value."""


class WrongParameter(ValueError):
    """A parameter has a wrong value; the text names both, and what is allowed."""


@dataclass(frozen=True)
class Parameters:
    """The trials to run. ``jobs`` and ``kills`` are per fault and broker."""

    jobs: int = 400
    kills: int = 4
    seed: int = 1
    prefetch: int | None = None
    """For each child; None: 16 in ``mixed``, else by time."""
    brokers: tuple[str, ...] = tuple(BROKERS)
    faults: tuple[Fault, ...] = tuple(Fault)
    beat_faults: tuple[BeatFault, ...] = tuple(BeatFault)
    seconds: int = 180
    """For which one of two Beats is killed again and again; each other fault of Beats takes a quarter of it."""
    stock: bool = False
    pool: str = "prefork"
    """As ``--pool``; where jobs do not run in children, none is killed, and faults are not mixed."""

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Parameters:
        """Read ``JOBS``, ``KILLS``, ``SEED``, ``SECONDS`` and so on; raises ``WrongParameter``."""
        faults = {fault.value: fault for fault in Fault}
        pool = _one(environment, "POOL", tuple(POOLS), cls.pool)
        if not POOLS[pool].forks:
            faults = {name: fault for name, fault in faults.items() if fault not in OF_CHILDREN}
        chosen = _several(environment, "FAULTS", {**faults, **{fault.value: fault for fault in BeatFault}})
        parameters = cls(
            jobs=_whole(environment, "JOBS", 1, 1_000_000, cls.jobs),
            kills=_whole(environment, "KILLS", 1, 10_000, cls.kills),
            seed=_whole(environment, "SEED", 0, 2**32, cls.seed),
            prefetch=_whole(environment, "PREFETCH", 1, 1000, 0) or None,
            brokers=_several(environment, "BROKERS", {name: name for name in BROKERS}),
            faults=tuple(fault for fault in chosen if isinstance(fault, Fault)),
            beat_faults=tuple(fault for fault in chosen if isinstance(fault, BeatFault)),
            seconds=_whole(environment, "SECONDS", 1, 86_400, cls.seconds),
            stock=_whole(environment, "STOCK", 0, 1, 0) == 1,
            pool=pool,
        )
        if parameters.jobs < parameters.kills + 1:
            raise WrongParameter(
                f"JOBS={parameters.jobs!r}: give more jobs than kills (KILLS={parameters.kills}), "
                "each kill needs some to hit"
            )
        return parameters


def _whole(environment: Mapping[str, str], name: str, low: int, high: int, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise WrongParameter(f"{name}={text!r}: give a whole number from {low} to {high}")
    return value


def _one(environment: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    text = environment.get(name, "").strip() or default
    if text not in allowed:
        raise WrongParameter(f"{name}={text!r}: allowed are {', '.join(allowed)}")
    return text


def _several(environment: Mapping[str, str], name: str, known: Mapping[str, T]) -> tuple[T, ...]:
    """The named ones, in the order of ``known``; all if none is named."""
    text = environment.get(name, "")
    wanted = {part.strip() for part in text.split(",") if part.strip()}
    for part in sorted(wanted - known.keys()):
        raise WrongParameter(f"{name}={text!r}: there is no {part!r}; allowed are {', '.join(known)}")
    return tuple(value for key, value in known.items() if not wanted or key in wanted)
