"""Prints the output of the processes to one terminal, each line with the time and the name of its process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import cycle
from typing import TextIO

OURSELVES = "system"
"""The name in front of lines from ``flask jobs up`` itself."""
_COLOURS = (36, 33, 32, 35, 31, 34)
"""ANSI colour codes, in the order in which processes are added; then the same colours in bold."""


class Printer:
    """Prints to ``output``; in a terminal, each name has a colour."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._colours: dict[str, str] | None = {} if output.isatty() else None
        self._free: Iterator[str] = cycle([f"{code}{how}" for how in ("", ";1") for code in _COLOURS])
        self._width = len(OURSELVES)

    def add(self, name: str) -> None:
        """Widen the name column for ``name``, and choose its colour."""
        self._width = max(self._width, len(name))
        if self._colours is not None:
            self._colours[name] = next(self._free)

    def write(self, name: str, text: str, at: float) -> None:
        """Print the lines of ``text``, written ``at`` (seconds since the epoch).

        If the output is closed, later lines are discarded, because ``flask jobs up`` must still stop its processes.
        """
        prefix = f"{time.strftime('%H:%M:%S', time.localtime(at))} {name.ljust(self._width)} | "
        colour = self._colours and self._colours.get(name)
        if colour:
            prefix = f"\033[0m\033[{colour}m{prefix}\033[0m"
        try:
            for line in text.splitlines():
                print(prefix + line, file=self._output, flush=True)
        except (OSError, ValueError):
            self._output = open(os.devnull, "w")  # noqa: SIM115 - for the rest of our life


__all__ = ["OURSELVES", "Printer"]
