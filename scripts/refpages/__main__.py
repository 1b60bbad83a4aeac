"""Update the pages: ``make reference``."""

from __future__ import annotations

import sys

from . import pages

for path, text in pages().items():
    if text != path.read_text(encoding="utf-8"):
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
