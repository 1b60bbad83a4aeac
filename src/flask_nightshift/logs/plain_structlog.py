"""Imports structlog without rich, which a worker does not need.

structlog imports rich, if it is installed, for the tracebacks of its own console renderer. Ours writes them plainly.
With pygments, rich takes 4.6 MiB of a worker's memory. An app that has imported structlog or rich before keeps both.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _WithoutRich(MetaPathFinder):
    """Says to this thread that rich is not installed; other threads find it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:  # noqa: ARG002
        if fullname == "rich" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def load() -> None:
    """Import structlog now; does nothing if it is imported already."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    finder = _WithoutRich()
    sys.meta_path.insert(0, finder)
    try:
        import structlog  # noqa: F401
    finally:
        sys.meta_path.remove(finder)


__all__ = ["load"]
