"""A seam: a name in another library that we use although its authors may change it without notice."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """How we use a seam."""

    OVERRIDE = "override"
    """Our subclass overrides it. If the library renames it, the library silently calls its own again."""
    PATCH = "patch"
    """We assign to it, on an object or a class of the library."""
    READ = "read"
    """We read it, or call it."""
    IMPORT = "import"
    """We import it by a private name, or from an undocumented module."""


@dataclass(frozen=True, slots=True)
class Seam:
    """The name ``name`` in ``owner``, which is ``module`` or ``module:Class``.

    ``reason`` is a sentence that says what we need it for. ``used_by`` are the qualified names of our classes and
    functions that use it, without their modules.
    """

    owner: str
    name: str
    kind: Kind
    reason: str
    used_by: tuple[str, ...]

    @property
    def library(self) -> str:
        """The name of the library's distribution on PyPI."""
        return self.owner.partition(":")[0].partition(".")[0]

    def __str__(self) -> str:
        return f"{self.owner}{'.' if ':' in self.owner else ':'}{self.name}"


@dataclass(frozen=True, slots=True)
class Row:
    """Several names in one owner that we use for one reason."""

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
    """Names that our class ``by`` overrides."""
    return Row(Kind.OVERRIDE, names, by, why)


def patch(names: str, by: str, why: str) -> Row:
    """Names that we assign to on an object or a class of the library."""
    return Row(Kind.PATCH, names, by, why)


def read(names: str, by: str, why: str) -> Row:
    """Names that we read or call."""
    return Row(Kind.READ, names, by, why)


def imported(names: str, by: str, why: str) -> Row:
    """Names that we import."""
    return Row(Kind.IMPORT, names, by, why)


__all__ = ["Kind", "Row", "Seam", "imported", "of", "override", "patch", "read"]
