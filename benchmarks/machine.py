"""The machine and the versions behind the figures, without the machine's name."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path

import psutil

from .peers import Peer
from .processes import venv_folder


def describe() -> dict[str, str]:
    """Processor, memory, operating system, kernel and Python."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": _system(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def load() -> float:
    """The load average of the last minute: near 0 on an idle machine."""
    return os.getloadavg()[0]


def versions(peers: list[Peer]) -> dict[str, str]:
    """The installed versions of the peers' distributions, by name."""
    usual = {(name, "") for peer in peers for name in peer.distributions if not peer.venv} | {("hiredis", "")}
    others = {(name, peer.venv) for peer in peers for name in peer.distributions if peer.venv}
    doubly = {name for name, _ in usual} & {name for name, _ in others}
    found = {}
    for name, venv in sorted(usual | others, key=lambda one: (one[0].lower(), one[1])):
        if number := _version(name, venv):
            found[f"{name} (for arq and SAQ)" if venv and name in doubly else name] = number
    return found


def _version(name: str, venv: str) -> str | None:
    folders = (
        [str(folder) for folder in venv_folder(venv).glob("lib/python*/site-packages")] if venv else sys.path
    )
    return next((one.version for one in distributions(name=name, path=folders)), None)


def _processor() -> str:
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    for line in _lines("/etc/os-release"):
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _lines(file: str) -> list[str]:
    path = Path(file)
    return path.read_text().splitlines() if path.exists() else []
