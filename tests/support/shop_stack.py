"""The example shop with all its processes, as ``make up`` starts it, in its own instance folder."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))

from shop.stage import Stage  # noqa: E402


class ShopStack(Stage):
    """A ``Stage`` that can find all its processes and remove everything."""

    def __init__(self, **environ: str) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="nightshift-shop-")), **environ)

    def close(self) -> None:
        """Stop the shop, kill what is left, and delete its folder."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        for process in self.family():
            process.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def family(self) -> list[psutil.Process]:
        """All living processes of this instance, found by its folder in their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                mine = process.environ().get("SHOP_INSTANCE") == str(self.home)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def named(self, word: str) -> psutil.Process:
        """The oldest process of the family with ``word`` in its command line, the parent of similar ones."""
        return min((one for one in self.family() if word in one.cmdline()), key=lambda one: one.create_time())
