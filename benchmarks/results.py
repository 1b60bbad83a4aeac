"""All rounds of a run, and their medians."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Round:
    """What one trial found."""

    server: str
    peer: str
    number: int
    values: dict[str, Any]
    failures: dict[str, str]


@dataclass
class Results:
    """A run."""

    about: dict[str, Any] = field(default_factory=dict)
    """Machine, versions, how the peers are configured, the proxy's real delay, load of the machine."""
    rounds: list[Round] = field(default_factory=list)

    def peers(self, server: str) -> list[str]:
        """The peers that ran on a server, in their order."""
        return list(dict.fromkeys(found.peer for found in self.rounds if found.server == server))

    def servers(self) -> list[str]:
        """The servers of this run, in their order."""
        return list(dict.fromkeys(found.server for found in self.rounds))

    def all(self, server: str, peer: str, figure: str) -> list[float]:
        """That figure of every round; the samples of all rounds where one round has many."""
        found: list[float] = []
        for value in (r.values.get(figure) for r in self._of(server, peer)):
            if isinstance(value, list):
                found.extend(value)
            elif value is not None:
                found.append(value)
        return found

    def median(self, server: str, peer: str, figure: str) -> float | None:
        """The median over the rounds; None: not measured."""
        found = self.all(server, peer, figure)
        return statistics.median(found) if found else None

    def quantile(self, server: str, peer: str, figure: str, share: float) -> float | None:
        """The value that ``share`` of all samples do not exceed."""
        found = sorted(self.all(server, peer, figure))
        return found[min(len(found) - 1, int(share * len(found)))] if found else None

    def failures(self, server: str, peer: str) -> list[str]:
        """What did not work, each once."""
        texts = (f"{stage}: {text}" for r in self._of(server, peer) for stage, text in r.failures.items())
        return list(dict.fromkeys(texts))

    def _of(self, server: str, peer: str) -> Iterable[Round]:
        return (r for r in self.rounds if r.server == server and r.peer == peer)

    def write(self, file: Path) -> None:
        """Everything, as JSON."""
        data = _rounded({"about": self.about, "rounds": [asdict(r) for r in self.rounds]})
        file.write_text(json.dumps(data, indent=1) + "\n")


def _rounded(value: Any) -> Any:
    """Numbers with the digits that mean something."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
