"""The geometry of charts: numbers become the attributes of SVG elements. All functions are pure.

A plot is ``WIDTH`` by ``HEIGHT`` units and is stretched to its box. Labels are not part of it, because they would be
stretched, too: those of the scale and of the times stand at equal distances beside and below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH, HEIGHT = 1000.0, 100.0
FEW = 0.1
"""The share of points that may be outliers; more of them are how it is, and the scale has room for them."""
FAR = 3.0
"""How many times as high as what the others reach an outlier is."""
NOTHING = 1e-12
"""Values up to this one are drawn as nothing."""
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale from 0 to ``top``, with ``lines`` of a grid from the top down: ``(y, value)``."""

    top: float
    lines: tuple[tuple[float, float], ...]

    def y(self, value: float) -> float:
        """The vertical place of ``value``."""
        return round(HEIGHT - HEIGHT * min(max(value, 0.0), self.top) / self.top, 2)


@dataclass(frozen=True, slots=True)
class Shape:
    """A path of a plot, with its class and its name in the legend."""

    kind: str
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A step of the time axis that tells its values: ``(x, width, text)``."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on the time axis."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart for the macro ``ui.chart``; ``summary`` says it in one sentence.

    ``beyond`` marks the points that are higher than the scale.
    """

    title: str
    summary: str
    labels: tuple[str, ...]
    grid: tuple[float, ...]
    areas: tuple[Shape, ...] = ()
    lines: tuple[Shape, ...] = ()
    beyond: Shape | None = None
    times: tuple[str, ...] = ()
    hits: tuple[Hit, ...] = ()
    marks: tuple[Mark, ...] = ()


def scale(values: Sequence[float | None], least: float = 0.0, lines: int = 4) -> Scale:
    """A scale from 0 over the largest of ``values`` (or ``least``), with round numbers on its lines."""
    most = max((value for value in values if value is not None), default=0.0)
    most = most if most > NOTHING else least or 1.0
    rough = most / lines
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in _STEPS if each * power >= rough * 0.999)
    count = max(1, math.ceil(most / step * 0.999))
    made = Scale(step * count, ())
    return Scale(made.top, tuple((made.y(step * n), step * n) for n in range(count, -1, -1)))


def ordinary(values: Sequence[float | None], least: float = 0.0) -> list[float]:
    """``values`` without a few outliers that would flatten all others; values up to ``least`` never are any."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return []
    usual = known[len(known) - 1 - int(len(known) * FEW)]
    bound = FAR * max(usual, least)
    return [value for value in known if value <= bound]


def beyond(values: Sequence[float | None], of: Scale) -> str:
    """The path of dots at the top, where a value is higher than the scale."""
    count = len(values)
    return "".join(
        f"M{x(index + 0.5, count):g} 0h0.01"
        for index, value in enumerate(values)
        if value is not None and value > of.top
    )


def x(index: float, count: int) -> float:
    """The left edge of the step ``index`` of ``count``."""
    return round(WIDTH * index / max(count, 1), 2)


def stacked(layers: Sequence[Sequence[float]], of: Scale) -> list[str]:
    """For each layer the path of its bars, each on top of those of the layers before it."""
    count = len(layers[0]) if layers else 0
    below = [0.0] * count
    drawn = []
    for layer in layers:
        bars = []
        for index, value in enumerate(layer):
            if value > 0:
                high, low = of.y(below[index] + value), of.y(below[index])
                left, width = x(index, count), round(WIDTH / count * 0.86, 2)
                bars.append(f"M{left:g} {high:g}h{width:g}v{low - high:g}h-{width:g}z")
            below[index] += value
        drawn.append("".join(bars))
    return drawn


def line(values: Sequence[float | None], of: Scale) -> str:
    """The path of a line through the middle of each step; where a value is not known, the line has a gap."""
    count, drawn = len(values), []
    known = [False, *(value is not None for value in values), False]
    for index, value in enumerate(values):
        if value is None:
            continue
        first, last = not known[index], not known[index + 2]
        drawn.append(f"{'M' if first else 'L'}{x(index + 0.5, count):g} {of.y(value):g}")
        if first and last:
            drawn.append("h0.01")  # a dot, by the round end of its stroke
    return "".join(drawn)


def hits(texts: Sequence[str]) -> tuple[Hit, ...]:
    """A step for each of ``texts``."""
    edges = [x(index, len(texts)) for index in range(len(texts) + 1)]
    return tuple(
        Hit(left, round(right - left, 2), text)
        for (left, right), text in zip(pairwise(edges), texts, strict=True)
    )


def labels(of: Scale, say: Callable[[float], str]) -> tuple[str, ...]:
    """The words beside the lines of the grid, from the top down."""
    return tuple(say(value) for _, value in of.lines)


def sparkline(values: Sequence[float], width: float = 96, height: float = 20) -> str:
    """The path of a small line without a scale."""
    if not values:
        return ""
    most = max(values) or 1
    step = width / max(len(values) - 1, 1)
    points = (
        f"{index * step:.1f} {height - 1 - (height - 2) * value / most:.1f}"
        for index, value in enumerate(values)
    )
    return "M" + "L".join(points)


__all__ = ["HEIGHT", "WIDTH", "Chart", "Hit", "Mark", "Scale", "Shape", "beyond", "hits", "labels", "line", "ordinary",
           "scale", "sparkline", "stacked", "x"]  # fmt: skip
