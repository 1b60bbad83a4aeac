"""Compares the table with the installed libraries.

``broken()`` is the quick check at the start of a worker: names and signatures. ``differing()`` compares source code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import found, source
from .seam import Seam
from .seams import SEAMS

RECORD = Path(__file__).with_name("checked.json")
"""The versions, signatures and fingerprints that were last reviewed; ``make seams`` writes the file."""
WATCHED = ("amqp", "billiard", "celery", "kombu", "redis", "vine")
"""The libraries whose unchecked versions cause a warning; ``pyproject.toml`` caps their versions."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference (``what``) between a seam and its checked version."""

    seam: Seam
    what: str
    installed: str
    checked: str

    def __str__(self) -> str:
        return (
            f"{self.seam} {self.what} in {self.seam.library} {self.installed} (checked with {self.checked}). "
            f"We {_VERBS[self.seam.kind]} it in {', '.join(self.seam.used_by)}: {self.seam.reason}"
        )


_VERBS = {"override": "override", "patch": "patch", "read": "use", "import": "import"}


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A library whose installed version was not compared with the table."""

    library: str
    installed: str
    checked: str

    def __str__(self) -> str:
        return f"{self.library} {self.installed} was never checked with Flask-Nightshift; {self.checked} was"


@dataclass(frozen=True, slots=True)
class Record:
    """What was checked: each library's version, and each seam's signature and fingerprint, by ``str(seam)``."""

    versions: Mapping[str, str]
    seams: Mapping[str, Mapping[str, str]]


@cache
def checked() -> Record:
    """The record that was released with this package."""
    return Record(**json.loads(RECORD.read_text()))


def broken(
    seams: Iterable[Seam] = SEAMS, record: Record | None = None, *, load: bool = False
) -> list[Difference]:
    """The seams that no longer exist or take other arguments.

    It checks only modules that this process has imported; with ``load`` it imports the others.
    """
    record = record or checked()
    return [_difference(seam, what, record) for seam in seams if (what := _breakage(seam, record, load=load))]


def differing(seams: Iterable[Seam] = SEAMS, record: Record | None = None) -> list[Difference]:
    """The seams whose source differs from the checked version, including those that no longer exist."""
    record = record or checked()
    return [_difference(seam, what, record) for seam in seams if (what := _change(seam, record))]


def unchecked(record: Record | None = None) -> list[Unchecked]:
    """The libraries of ``WATCHED`` whose installed version is not the checked one."""
    versions = (record or checked()).versions
    return [
        Unchecked(name, here, versions[name])
        for name in WATCHED
        if (here := installed(name)) != versions[name]
    ]


def forget() -> None:
    """Free the memory of the check, after it."""
    checked.cache_clear()
    found.forget()


def measure(seams: Sequence[Seam] = SEAMS) -> Record:
    """A new record of the installed libraries; raises ``LookupError`` for a seam that does not exist."""
    libraries = sorted({seam.library for seam in seams})
    return Record(
        {name: installed(name) for name in libraries}, {str(seam): _measured(seam) for seam in seams}
    )


@cache
def installed(library: str) -> str:
    """The installed version of ``library``; '' if it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _difference(seam: Seam, what: str, record: Record) -> Difference:
    return Difference(
        seam, what, installed(seam.library) or "none", record.versions.get(seam.library, "none")
    )


def _breakage(seam: Seam, record: Record, *, load: bool) -> str:
    module = found.module_of(seam, load=load)
    if module is None:
        return "cannot be imported" if load and installed(seam.library) else ""
    owner = found.owner_in(module, seam)
    if owner is None or not found.exists(owner, seam.name):
        return "is gone"
    now = found.signature(found.value(owner, seam.name), seam.library)
    then = record.seams.get(str(seam), {}).get("signature", now)
    return f"takes {now}, and took {then}," if now is not None and now != then else ""


def _change(seam: Seam, record: Record) -> str:
    if what := _breakage(seam, record, load=True):
        return what
    if str(seam) not in record.seams:
        return "was never checked"
    if found.module_of(seam, load=True) is None:
        return ""
    return "has changed" if _measured(seam)["source"] != record.seams[str(seam)]["source"] else ""


def _measured(seam: Seam) -> dict[str, str]:
    """The signature and the fingerprint of a seam; raises ``LookupError``."""
    owner = _owner(seam)
    digest = source.fingerprint(owner, seam.name) if owner is not None else ""
    if not digest:
        raise LookupError(f"{seam} is not in the source of {seam.library} {installed(seam.library)}")
    return {"signature": found.signature(found.value(owner, seam.name), seam.library) or "", "source": digest}


def _owner(seam: Seam) -> Any:
    module = found.module_of(seam, load=True)
    return found.owner_in(module, seam) if module is not None else None


__all__ = [
    "Difference",
    "Record",
    "Unchecked",
    "broken",
    "checked",
    "differing",
    "forget",
    "installed",
    "measure",
    "unchecked",
]
