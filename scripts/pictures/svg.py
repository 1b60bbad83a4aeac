"""Boxes, arrows and words as SVG.

A drawing has a background of its own, so it is legible on any page; where the reader prefers dark colours, it has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

_STYLE = """
    .ground { fill: #f7f8fa; stroke: #d5d9e0 } .box { fill: #ffffff; stroke: #5b6472 }
    .good { fill: #e2f3e6; stroke: #2e7d43 } .bad { fill: #fde7e4; stroke: #b3392b }
    .wait { fill: #fff3d6; stroke: #946300 } .hold { fill: #e1eafc; stroke: #2f4b8f }
    .line { fill: none; stroke: #3f4754 } .tip { fill: #3f4754 } .lane { stroke: #d5d9e0 }
    text { fill: #1d2430 } .small { fill: #414a58 }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #1b1f27; stroke: #3a4250 } .box { fill: #262c37; stroke: #98a3b5 }
      .good { fill: #1d3a27; stroke: #6cc788 } .bad { fill: #46211d; stroke: #f0897c }
      .wait { fill: #3f3214; stroke: #e0b354 } .hold { fill: #1f2f52; stroke: #9db7f5 }
      .line { stroke: #b9c2d0 } .tip { fill: #b9c2d0 } .lane { stroke: #3a4250 }
      text { fill: #eef1f6 } .small { fill: #c3cbd8 }
    }"""


@dataclass(frozen=True, slots=True)
class Box:
    """A box with a title and a line below it; ``kind`` is a class of the style."""

    x: int
    y: int
    width: int
    title: str
    below: str
    kind: str = "box"
    height: int = 56

    def __str__(self) -> str:
        middle = self.x + self.width // 2
        place = f'x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}"'
        frame = f'<rect class="{self.kind}" {place} rx="7"/>'
        title = words(middle, self.y + 24, self.title, bold=True)
        return "\n  ".join([frame, title, words(middle, self.y + 43, self.below, small=True)])


def words(
    x: int, y: int, text: str, *, bold: bool = False, small: bool = False, anchor: str = "middle"
) -> str:
    """One line of text, around ``x`` or, with another ``anchor``, from it or up to it."""
    weight = ' font-weight="600"' if bold else ""
    size = ' class="small" font-size="12.5"' if small else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{weight}{size}>{escape(text)}</text>'


def arrow(*points: tuple[int, int]) -> str:
    """A line along ``points``, with a tip at the last one."""
    (x, y), (before_x, before_y) = points[-1], points[-2]
    if x == before_x:
        side = -9 if y > before_y else 9
        tip = f"{x},{y} {x - 5},{y + side} {x + 5},{y + side}"
    else:
        side = -9 if x > before_x else 9
        tip = f"{x},{y} {x + side},{y - 5} {x + side},{y + 5}"
    path = " ".join(f"{a},{b}" for a, b in points)
    return f'<polyline class="line" points="{path}"/><polygon class="tip" points="{tip}"/>'


def bar(x: int, y: int, width: int, kind: str, text: str = "", height: int = 26) -> str:
    """A stretch of time."""
    frame = f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="4"/>'
    return frame + (words(x + width // 2, y + height // 2 + 4, text, small=True) if text else "")


def drawing(width: int, height: int, title: str, description: str, parts: Iterable[object]) -> str:
    """The whole file; ``title`` and ``description`` are for those who cannot see it."""
    drawn = "\n  ".join(map(str, parts))
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
  role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="14">
  <title>{escape(title)}</title>
  <desc>{escape(description)}</desc>
  <style>{_STYLE}
  </style>
  <rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10"/>
  {drawn}
</svg>
"""


__all__ = ["Box", "arrow", "bar", "drawing", "words"]
