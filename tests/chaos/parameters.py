"""The parameters of ``make chaos``, from the environment; the error for a wrong one says what is allowed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from .brokers import BROKERS
from .faults import Fault

T = TypeVar("T")


class WrongParameter(ValueError):
    """A parameter has a wrong value; the text names both, and what is allowed."""


@dataclass(frozen=True)
class Parameters:
    """The trials to run. ``jobs`` and ``kills`` are per fault and broker."""

    jobs: int = 400
    kills: int = 4
    seed: int = 1
    prefetch: int | None = None
    """For each child; None: 16 in ``mixed``, else 1."""
    brokers: tuple[str, ...] = tuple(BROKERS)
    faults: tuple[Fault, ...] = tuple(Fault)
    stock: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Parameters:
        """Read ``JOBS``, ``KILLS``, ``SEED``, ``PREFETCH`` and so on; raises ``WrongParameter``."""
        faults = {fault.value: fault for fault in Fault}
        parameters = cls(
            jobs=_whole(environment, "JOBS", 1, 1_000_000, cls.jobs),
            kills=_whole(environment, "KILLS", 1, 10_000, cls.kills),
            seed=_whole(environment, "SEED", 0, 2**32, cls.seed),
            prefetch=_whole(environment, "PREFETCH", 1, 1000, 0) or None,
            brokers=_several(environment, "BROKERS", {name: name for name in BROKERS}),
            faults=_several(environment, "FAULTS", faults),
            stock=_whole(environment, "STOCK", 0, 1, 0) == 1,
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


def _several(environment: Mapping[str, str], name: str, known: Mapping[str, T]) -> tuple[T, ...]:
    """The named ones, in the order of ``known``; all if none is named."""
    text = environment.get(name, "")
    wanted = {part.strip() for part in text.split(",") if part.strip()}
    for part in sorted(wanted - known.keys()):
        raise WrongParameter(f"{name}={text!r}: there is no {part!r}; allowed are {', '.join(known)}")
    return tuple(value for key, value in known.items() if not wanted or key in wanted)
