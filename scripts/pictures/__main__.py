"""Write the drawings: ``make pictures``."""

from __future__ import annotations

from . import DRAWINGS, FOLDER

for name, draw in DRAWINGS.items():
    (FOLDER / name).write_text(draw(), encoding="utf-8")
