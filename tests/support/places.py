"""The folders of tests, helpers and apps, for processes that a test starts."""

from __future__ import annotations

import os
from pathlib import Path

SUPPORT = Path(__file__).parent
APPS = SUPPORT / "apps"
TESTS = SUPPORT.parent
ROOT = TESTS.parent


def python_path(*more: str | Path) -> str:
    """``PYTHONPATH`` for a process that imports helpers or apps: their folders, ``more``, and the current value."""
    paths = [*map(str, more), str(APPS), str(SUPPORT), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, paths))
