"""The parameters of ``make bench``, read from its environment and checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import peers, servers
from .errors import WrongParameter
from .peers.base import MEASURES

DEFAULT_SERVERS = ("redis", "rabbitmq")
MOST_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Parameters:
    """Measures (``only``), peers, rounds and servers; ``out``: the folder for the report, None for a partial run."""

    only: frozenset[str]
    peers: tuple[str, ...]
    rounds: int
    servers: tuple[str, ...]
    out: Path | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Parameters:
        """Read ``ONLY``, ``PEERS``, ``ROUNDS``, ``SERVER`` and ``OUT``; raises ``WrongParameter``."""
        only = _names(environment, "ONLY", MEASURES, MEASURES)
        wanted = _names(environment, "PEERS", peers.NAMES, peers.NAMES)
        on = _names(environment, "SERVER", servers.NAMES, DEFAULT_SERVERS)
        rounds = environment.get("ROUNDS") or "3"
        if not rounds.isdecimal() or not 1 <= int(rounds) <= MOST_ROUNDS:
            raise WrongParameter(f"ROUNDS={rounds}: give a whole number from 1 to {MOST_ROUNDS}")
        out = environment.get("OUT")
        whole = len(only) == len(MEASURES) and len(wanted) == len(peers.NAMES)
        folder = Path(out) if out else Path("docs") if whole and on == DEFAULT_SERVERS else None
        if folder is not None and folder.exists() and not folder.is_dir():
            raise WrongParameter(f"OUT={out}: it is a file; give a folder")
        return cls(frozenset(only), wanted, int(rounds), on, folder)


def _names(
    environment: Mapping[str, str], key: str, allowed: Iterable[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    given = [part.strip() for part in environment.get(key, "").split(",") if part.strip()]
    for name in given:
        if name not in tuple(allowed):
            raise WrongParameter(f"{key}={name}: there is no such thing; allowed are {', '.join(allowed)}")
    return tuple(dict.fromkeys(given)) or default
