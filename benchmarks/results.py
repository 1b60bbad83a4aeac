"""All rounds of a run, and their medians."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ALIKE = 0.2
"""Rounds that differ by more than this share are both reported."""


@dataclass(frozen=True, slots=True)
class Round:
    """The figures and failures of one trial."""

    server: str
    peer: str
    number: int
    values: dict[str, Any]
    failures: dict[str, str]
    conditions: dict[str, float] = field(default_factory=dict)
    """How quiet the machine was: ``steal`` and ``others`` and ``slowness`` before, ``steal_during`` (see ``quiet``)."""
    noisy: bool = False


@dataclass
class Results:
    """The results of a run."""

    about: dict[str, Any] = field(default_factory=dict)
    """The machine and its load, versions, the peers' configurations, the measured delay of the proxy."""
    rounds: list[Round] = field(default_factory=list)

    def peers(self, server: str) -> list[str]:
        """The peers that ran on a server, in their order."""
        return list(dict.fromkeys(found.peer for found in self.rounds if found.server == server))

    def servers(self) -> list[str]:
        """The servers of this run, in their order."""
        return list(dict.fromkeys(found.server for found in self.rounds))

    def all(self, server: str, peer: str, figure: str) -> list[float]:
        """The values of ``figure`` in all rounds; all samples if a round has many."""
        found: list[float] = []
        for value in (r.values.get(figure) for r in self._of(server, peer)):
            if isinstance(value, list):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return found

    def by_round(self, server: str, peer: str, figure: str, share: float | None = None) -> dict[int, float]:
        """The value of ``figure`` in each round that has it; with ``share``, that quantile of its samples."""
        found = {
            r.number: r.values[figure] for r in self._of(server, peer) if r.values.get(figure) is not None
        }
        return {
            number: quantile(value, share or 0.5) if isinstance(value, list) else value
            for number, value in found.items()
        }

    def noisy(self, server: str, peer: str) -> tuple[int, int]:
        """The number of a peer's rounds on a noisy machine, and of all its rounds."""
        rounds = list(self._of(server, peer))
        return sum(r.noisy for r in rounds), len(rounds)

    def median(self, server: str, peer: str, figure: str) -> float | None:
        """The median over the rounds; None if not measured."""
        found = self.all(server, peer, figure)
        return statistics.median(found) if found else None

    def quantile(self, server: str, peer: str, figure: str, share: float) -> float | None:
        """The value that ``share`` of all samples do not exceed."""
        found = self.all(server, peer, figure)
        return quantile(found, share) if found else None

    def failures(self, server: str, peer: str) -> list[str]:
        """The failures of a peer, each once."""
        texts = (f"{stage}: {text}" for r in self._of(server, peer) for stage, text in r.failures.items())
        return list(dict.fromkeys(texts))

    def _of(self, server: str, peer: str) -> Iterable[Round]:
        return (r for r in self.rounds if r.server == server and r.peer == peer)

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        data = _rounded({"about": self.about, "rounds": [asdict(r) for r in self.rounds]})
        file.write_text(json.dumps(data, indent=1) + "\n")


def quantile(samples: list[float], share: float) -> float:
    """The value that ``share`` of the samples do not exceed."""
    return sorted(samples)[min(len(samples) - 1, int(share * len(samples)))]


def differ(values: Iterable[float]) -> tuple[float, float] | None:
    """The least and the greatest value if they differ by more than ``ALIKE``, otherwise None."""
    found = list(values)
    if len(found) < 2 or max(found) <= min(found) * (1 + ALIKE):
        return None
    return min(found), max(found)


def _rounded(value: Any) -> Any:
    """``value`` with its numbers rounded to five significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
