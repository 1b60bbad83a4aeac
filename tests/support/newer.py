"""``SERVERS=newer`` runs the tests on RabbitMQ 4.3 and Redis 8, which ``scripts/newer_debian.sh`` installs.

They run in a root directory of their own, with this system's ``/proc`` and temporary files. Each has its own mount
namespace, so nothing stays mounted.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

WANTED = os.environ.get("SERVERS") == "newer"
_ENTER = 'mount --rbind /proc "$0/proc" && mkdir -p "$0$1" && mount --rbind "$1" "$0$1" && exec chroot "$0" sh -c "$2"'


def root() -> Path:
    """The directory into which ``scripts/newer_debian.sh`` installs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("NEWER_DEBIAN") or cache / "flask-nightshift" / "debian-forky")


def has(program: str) -> bool:
    """Whether ``program``, a path, is installed there and can be run."""
    return os.getuid() == 0 and (root() / program.lstrip("/")).exists()


def inside(command: list[str], directory: Path) -> list[str]:
    """The command that runs ``command`` there, in ``directory``; the process keeps its id."""
    words = f"cd {shlex.quote(str(directory))} && exec {shlex.join(command)}"
    return ["unshare", "--mount", "sh", "-c", _ENTER, str(root()), tempfile.gettempdir(), words]
