"""A run: in each round it measures all peers, so that a change in the machine's speed affects all of them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from . import commits, imports, machine, peers, servers
from .errors import PeerFailed
from .jobs import BROKER_URL
from .parameters import Parameters
from .peers import Peer
from .processes import ROOT, venv_folder
from .processes import run as run_command
from .proxy import added_round_trip
from .quiet import MOST_STEAL, Look, Watch, read
from .results import Results, Round
from .servers import Site
from .trial import Trial

BUSY = 0.5
ONCE = frozenset({"idle"})
"""Measures taken only in the first round, because they take long and hardly vary."""
NOT_HERE = frozenset({"import"})
"""Measures without a server."""


def measure(parameters: Parameters, results: Results, interrupted: threading.Event) -> None:
    """Take all measures and add each to ``results`` at once, so an interrupted run keeps what it has.

    Raises ``KeyboardInterrupt`` after the round in which ``interrupted`` was set.
    """
    found, missing = _find(parameters.peers)
    results.about.update(
        machine=machine.describe(),
        versions=machine.versions(found),
        servers={},
        peers={peer.name: peer.how for peer in found},
        bulk={peer.name: peer.bulk for peer in found},
        load_before=machine.load(),
        wait=parameters.wait,
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        total_rounds=parameters.rounds,
    )
    if machine.load() > BUSY:
        print(
            f"The machine is busy (load {machine.load():.1f}): expect lower figures that vary.",
            file=sys.stderr,
        )
    commits.precompile(ROOT / "src", ROOT / "benchmarks")
    watch = Watch(os.cpu_count() or 1, parameters.wait)
    with _folder() as folder:
        if parameters.base is not None:
            commits.unpack(parameters.base, folder / "base")
            results.about["base"] = parameters.base[:9]
        if "import" in parameters.only and any("import" in peer.measures for peer in found):
            _imports(watch, results, folder)
        for name in parameters.servers:
            results.rounds += [Round(name, peer, 1, {}, {"import": text}) for peer, text in missing.items()]
            wanted = parameters.only - NOT_HERE
            here = [peer for peer in found if name in peer.servers and peer.measures & wanted]
            if here:
                with servers.running(name) as site:
                    for trial, seconds in _rounds(site, here, parameters, results, folder / name, watch):
                        results.rounds.append(trial)  # first: who reads that it is done may interrupt
                        _tell(trial, seconds)
                        if interrupted.is_set():
                            raise KeyboardInterrupt


def _find(names: tuple[str, ...]) -> tuple[list[Peer], dict[str, str]]:
    """The peers, and the error of each peer whose library is not installed."""
    found, missing = [], {}
    for name in names:
        try:
            peer = peers.find(name)
        except ImportError as exc:
            missing[name] = str(exc)
            continue
        if venv_folder(peer.venv).is_dir():
            found.append(peer)
        else:
            missing[name] = f"there is no {venv_folder(peer.venv).name}; `make bench` makes it"
    return found, missing


def _imports(watch: Watch, results: Results, folder: Path) -> None:
    """Measure imports once, before any server runs."""
    looked = watch.wait()
    home = folder / "imports"
    home.mkdir()
    try:
        seconds = imports.measure(home)
    except PeerFailed as exc:
        print(f"imports FAILED: {exc}", file=sys.stderr)
        return
    results.about["imports"] = {**seconds, "noisy": not looked.quiet}
    print("imports: " + ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items()), flush=True)


def _rounds(
    site: Site, found: list[Peer], parameters: Parameters, results: Results, folder: Path, watch: Watch
) -> Iterator[tuple[Round, float]]:
    """Each peer once in each round, and the seconds that it took."""
    folder.mkdir()
    results.about["servers"][site.name] = site.version
    if "far" in parameters.only:
        added = added_round_trip(site.counting.url, site.counting.port, folder / "proxy.log")
        results.about.setdefault("added_round_trip", {})[site.name] = added
    guesses: dict[str, dict[str, float]] = {peer.name: {} for peer in found}
    for number in range(1, parameters.rounds + 1):
        for peer in found:
            measures = _measures(parameters, number)
            looked, begun, ticks = watch.wait(), time.monotonic(), read()
            trial = _trial(peer, site, folder / peer.name, guesses[peer.name], number, measures)
            results.about["waited"] = watch.waited
            yield _judged(trial, looked, (read() - ticks).steal), time.monotonic() - begun


def _measures(parameters: Parameters, number: int) -> frozenset[str]:
    """The measures of a round."""
    wanted = parameters.only if number == 1 else parameters.only - ONCE
    return wanted if parameters.base is not None else wanted - {"many"}


def _judged(trial: Round, looked: Look, steal: float) -> Round:
    """``trial`` with the conditions of its round."""
    conditions = {**asdict(looked), "steal_during": steal}
    return replace(trial, conditions=conditions, noisy=not looked.quiet or steal > MOST_STEAL)


def _trial(
    peer: Peer, site: Site, folder: Path, guesses: dict[str, float], number: int, measures: frozenset[str]
) -> Round:
    trial = Trial(peer, site, folder, guesses)
    if number == 1 and (problem := _prepare(peer, site, folder)):
        return Round(site.name, peer.name, number, {}, {"prepare": problem})
    figures = trial.run(measures)
    return Round(site.name, peer.name, number, figures.values, figures.failures)


def _prepare(peer: Peer, site: Site, folder: Path) -> str | None:
    """Run the peer's preparations; returns the error, or None."""
    env = {BROKER_URL: site.fresh_url(), **peer.environment(str(folder))}
    try:
        for words in peer.preparations():
            run_command(words, env, folder / "prepare.log")
    except PeerFailed as exc:
        return str(exc)
    return None


def _tell(trial: Round, seconds: float) -> None:
    said = [f"{name} {_short(value)}" for name, value in trial.values.items() if isinstance(value, float)]
    failed = [f"FAILED {stage}: {text}" for stage, text in trial.failures.items()]
    noisy = ", noisy" if trial.noisy else ""
    print(
        f"{trial.server} round {trial.number} {trial.peer} ({seconds:.0f} s{noisy}): {', '.join(said + failed)}",
        flush=True,
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder for logs, gates and SQLite files."""
    folder = Path(tempfile.mkdtemp(prefix="nightshift-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
