"""The parameters of ``make bench``, read from its environment and checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import commits, peers, servers
from .errors import WrongParameter
from .peers.base import MEASURES

DEFAULT_SERVERS = ("redis", "rabbitmq")
MOST_ROUNDS = 50
MOST_WAIT = 600
OPTIONS = {
    "ROUNDS": f"number of rounds, 3 by default, at most {MOST_ROUNDS}",
    "SERVER": "servers: `redis,rabbitmq` by default; `valkey` is the third",
    "PEERS": (
        "peers, by their names in the tables; only on request: "
        + ", ".join(f"`{name}`" for name in peers.ON_REQUEST if name != peers.BASE)
    ),
    "ONLY": f"measures: {', '.join(f'`{name}`' for name in MEASURES)}",
    "WAIT": "seconds to wait for a quiet machine before each peer's turn, 20 by default; 0 to try things",
    "BASE": "a commit: `enqueue_many` and others are compared with its source, in turn",
    "OUT": "folder for this page; without it only a whole run writes it, into `docs`",
}
"""The parameters of ``make bench``, as the report lists them."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Measures (``only``), peers, rounds and servers; ``wait``: seconds for which to wait for a quiet machine before
    each peer's turn; ``base``: the commit to compare with, if any.

    ``out``: the folder for the report, None for a partial run.
    """

    only: frozenset[str]
    peers: tuple[str, ...]
    rounds: int
    servers: tuple[str, ...]
    wait: int
    base: str | None
    out: Path | None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Parameters:
        """Read ``OPTIONS``; raises ``WrongParameter``."""
        only = _names(environment, "ONLY", MEASURES, MEASURES)
        commit = commits.check(environment["BASE"]) if environment.get("BASE") else None
        wanted = _names(environment, "PEERS", peers.NAMES, peers.DEFAULT)
        if peers.BASE in wanted and commit is None:
            raise WrongParameter(f"PEERS={peers.BASE}: it needs a commit; allowed is BASE=COMMIT beside it")
        if commit is not None:
            wanted = _with_base(wanted)
        on = _names(environment, "SERVER", servers.NAMES, DEFAULT_SERVERS)
        rounds = environment.get("ROUNDS") or "3"
        if not rounds.isdecimal() or not 1 <= int(rounds) <= MOST_ROUNDS:
            raise WrongParameter(f"ROUNDS={rounds}: give a whole number from 1 to {MOST_ROUNDS}")
        wait = environment.get("WAIT") or "20"
        if not wait.isdecimal() or int(wait) > MOST_WAIT:
            raise WrongParameter(f"WAIT={wait}: give a whole number of seconds from 0 to {MOST_WAIT}")
        out = environment.get("OUT")
        whole = len(only) == len(MEASURES) and set(wanted) >= set(peers.DEFAULT)
        folder = Path(out) if out else Path("docs") if whole and on == DEFAULT_SERVERS else None
        if folder is not None and folder.exists() and not folder.is_dir():
            raise WrongParameter(f"OUT={out}: it is a file; give a folder")
        return cls(frozenset(only), wanted, int(rounds), on, int(wait), commit, folder)


def _with_base(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The peers and, behind the one that it is compared with, the peer of the commit ``BASE``."""
    others = [name for name in wanted if name not in (peers.BASE, peers.COMPARED)]
    return (peers.COMPARED, peers.BASE, *others)


def _names(
    environment: Mapping[str, str], key: str, allowed: Iterable[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    given = [part.strip() for part in environment.get(key, "").split(",") if part.strip()]
    for name in given:
        if name not in tuple(allowed):
            raise WrongParameter(f"{key}={name}: there is no such thing; allowed are {', '.join(allowed)}")
    return tuple(dict.fromkeys(given)) or default
