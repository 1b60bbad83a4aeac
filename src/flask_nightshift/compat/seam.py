"""A seam: a name of another library that its authors may change without notice, and that we use all the same."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """How we use it."""

    OVERRIDE = "override"
    """A subclass of ours replaces it: renamed, the library calls its own again, and nothing fails."""
    PATCH = "patch"
    """We assign to it on an object or a class of the library's."""
    READ = "read"
    """We read it, or call it."""
    IMPORT = "import"
    """We import it from a module that is not documented, or by a private name."""


@dataclass(frozen=True, slots=True)
class Seam:
    """``name`` of ``owner``, which is ``module`` or ``module:Class``.

    ``reason`` says in a sentence what we need it for. ``used_by`` are the qualified names of our classes and functions
    that use it, without their modules.
    """

    owner: str
    name: str
    kind: Kind
    reason: str
    used_by: tuple[str, ...]

    @property
    def library(self) -> str:
        """The name of the distribution, as pip knows it."""
        return self.owner.partition(":")[0].partition(".")[0]

    def __str__(self) -> str:
        return f"{self.owner}{'.' if ':' in self.owner else ':'}{self.name}"


@dataclass(frozen=True, slots=True)
class Row:
    """Several names of one owner that we use for one reason."""

    kind: Kind
    names: str
    used_by: str
    reason: str


def of(owner: str, *rows: Row) -> tuple[Seam, ...]:
    """The seams of ``owner``; ``names`` and ``used_by`` of a row are separated by blanks."""
    return tuple(_seams(owner, rows))


def _seams(owner: str, rows: tuple[Row, ...]) -> Iterator[Seam]:
    for row in rows:
        for name in row.names.split():
            yield Seam(owner, name, row.kind, row.reason, tuple(row.used_by.split()))


def override(names: str, by: str, why: str) -> Row:
    """Names that our class ``by`` replaces."""
    return Row(Kind.OVERRIDE, names, by, why)


def patch(names: str, by: str, why: str) -> Row:
    """Names that we assign to on somebody else's object."""
    return Row(Kind.PATCH, names, by, why)


def read(names: str, by: str, why: str) -> Row:
    """Names that we read or call."""
    return Row(Kind.READ, names, by, why)


def imported(names: str, by: str, why: str) -> Row:
    """Names that we import."""
    return Row(Kind.IMPORT, names, by, why)


__all__ = ["Kind", "Row", "Seam", "imported", "of", "override", "patch", "read"]
