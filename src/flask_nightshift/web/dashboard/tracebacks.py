"""A traceback in parts: the user's own frames stay, runs of libraries' frames are folded. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from ...domain.frames import folded


@dataclass(frozen=True, slots=True)
class Part:
    """Some lines of a traceback. ``ours``: they are shown; else ``title`` says what is folded."""

    text: str
    ours: bool
    title: str = ""


def parts(traceback: str) -> list[Part]:
    """The parts of ``traceback`` in order. If no frame is the user's, nothing is folded."""
    found: list[Part] = []
    for ours, group in groupby(folded(traceback.rstrip()), lambda part: not part.hidden):
        members = list(group)
        count = sum(part.hidden for part in members)
        title = "" if ours else ("1 frame of a library" if count == 1 else f"{count} frames of libraries")
        found.append(Part("\n".join(line for part in members for line in part.lines), ours, title))
    return found


__all__ = ["Part", "parts"]
