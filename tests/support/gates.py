"""Gates, at which jobs of a test's app wait until the test opens them."""

from __future__ import annotations

import os
import time
from pathlib import Path


def gate(name: str, seconds: float = 120) -> None:
    """Wait until a test opens the gate, a file in the instance folder."""
    until = time.monotonic() + seconds
    path = Path(os.environ["INSTANCE"], f"gate.{name}")
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(name)
        time.sleep(0.02)
