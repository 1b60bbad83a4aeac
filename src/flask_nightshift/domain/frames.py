"""Reads a traceback's text: its frames, and which of them are the user's own code.

A traceback travels as text, because nothing unpickles exceptions. Nothing here trusts its shape: strangers write
dead letters, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

MOST_CHARACTERS = 65_536
"""Characters that are read of a traceback, counted from its end, where the error is."""

_FRAME = re.compile(r'^\s*(?:\|\s*)?File "(?P<file>.+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_BEGIN = "Traceback (most recent call last):"
_INDENTS = ("    ", "  |     ")
_PACKAGES = re.compile(r"[/\\](?:site|dist)-packages[/\\]+(?P<top>[^/\\]+)")
_STANDARD = re.compile(r"[/\\]lib(?:64)?[/\\]+python\d[\d.]*[a-z]?[/\\]|^<", re.IGNORECASE)
_OURS = re.compile(r"[/\\]flask_nightshift[/\\]")
_AROUND = frozenset({"flask_nightshift", "celery", "kombu", "billiard", "flask", "werkzeug"})
"""Packages whose frames stand around a task's body."""


class Frame(NamedTuple):
    """A frame: its file, line number and function, and its lines below (source and marks).

    ``own``: the user's code, and not a library's or Python's.
    """

    file: str
    line: int
    function: str
    below: tuple[str, ...] = ()
    own: bool = False

    @property
    def source(self) -> str:
        """The first line of the source; empty if the traceback does not have it."""
        return self.below[0].strip() if self.below else ""

    @property
    def short(self) -> str:
        """The last two parts of the file's path: a release's folder changes with each deployment."""
        return "/".join(re.split(r"[/\\]+", self.file)[-2:])

    @property
    def lines(self) -> tuple[str, ...]:
        """The frame as the traceback has it."""
        where = f", in {self.function}" if self.function else ""
        return (f'  File "{self.file}", line {self.line}{where}', *self.below)


class Folded(NamedTuple):
    """A part of a traceback: some frames of libraries in a row (``hidden``), or other ``lines``."""

    lines: tuple[str, ...]
    hidden: int = 0


def frames(traceback: str) -> list[Frame]:
    """The frames of the error that was raised last, the outermost first."""
    text = traceback[-MOST_CHARACTERS:]
    last = text.rfind(_BEGIN)
    found = [part for part in _parts(text[max(last, 0) :].splitlines()) if isinstance(part, Frame)]
    return _judged(found)


def folded(traceback: str) -> list[Folded]:
    """The whole traceback in its order; frames of libraries that follow each other are one part.

    If no frame is the user's own, nothing is folded.
    """
    parts = list(_parts(traceback[-MOST_CHARACTERS:].splitlines()))
    judged = iter(_judged([part for part in parts if isinstance(part, Frame)]))
    known = [next(judged) if isinstance(part, Frame) else part for part in parts]
    some_own = any(isinstance(part, Frame) and part.own for part in known)
    found: list[Folded] = []
    for hide, group in groupby(known, lambda part: isinstance(part, Frame) and not part.own and some_own):
        members = list(group)
        lines = tuple(
            line for part in members for line in (part.lines if isinstance(part, Frame) else (part,))
        )
        found.append(Folded(lines, len(members) if hide else 0))
    return found


def raised_at(traceback: str) -> Frame | None:
    """The frame that tells best where the error comes from: the innermost of the user's own, else the innermost."""
    found = frames(traceback)
    return next((frame for frame in reversed(found) if frame.own), found[-1] if found else None)


def _parts(lines: Sequence[str]) -> Iterator[Frame | str]:
    """The frames, and the lines between them."""
    at = 0
    while at < len(lines):
        said = _FRAME.match(lines[at])
        if said is None:
            yield lines[at]
            at += 1
            continue
        end = at + 1
        while end < len(lines) and lines[end].startswith(_INDENTS) and _FRAME.match(lines[end]) is None:
            end += 1
        number = int(said["line"][:9])
        yield Frame(said["file"], number, said["function"] or "", tuple(lines[at + 1 : end]))
        at = end


def _judged(found: Sequence[Frame]) -> list[Frame]:
    """``found`` with ``own`` filled in. An app that is installed as a package is known by the frame that calls it."""
    judged = [frame._replace(own=_package(frame.file) is None) for frame in found]
    if any(frame.own for frame in judged):
        return judged
    app = next((name for frame in found if (name := _package(frame.file)) and name not in _AROUND), None)
    return [frame._replace(own=app is not None and _package(frame.file) == app) for frame in found]


def _package(file: str) -> str | None:
    """The installed package that ``file`` belongs to, '' for Python itself; None for the user's own files."""
    if (installed := _PACKAGES.search(file)) is not None:
        return installed["top"]
    if _OURS.search(file) is not None:
        return "flask_nightshift"
    return "" if _STANDARD.search(file) is not None else None


__all__ = ["Folded", "Frame", "folded", "frames", "raised_at"]
