"""The drawings in docs/pictures/, as SVG: ``make pictures`` writes them, and a test compares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import job, lease

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
DRAWINGS: dict[str, Callable[[], str]] = {
    "life-of-a-job.svg": job.drawing,
    "life-of-a-lease.svg": lease.drawing,
}
"""By file name, the function that draws."""

__all__ = ["DRAWINGS", "FOLDER"]
