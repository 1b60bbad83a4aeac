"""Make a virtual environment with a pip that knows dependency groups: ``make_venv.py DIRECTORY``.

Debian's python3 comes without ``ensurepip`` (it is in python3-venv). Then the pip that is there, Debian's
python3-pip, fills the environment from outside.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PIP = "pip>=25.1"
"""The first pip that installs dependency groups (``--group``)."""


def main(directory: str) -> None:
    """Make it in ``directory``, over whatever is there; exits with a message when that cannot be."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the person may well have an older one
        sys.exit(f"Python {sys.version.split()[0]} is too old: give another, PYTHON=python3.11 make …")
    target = Path(directory).absolute()
    venv.create(target, with_pip=False, clear=True, symlinks=True)
    python = str(target / "bin" / "python")
    install = ["--disable-pip-version-check", "install", "--quiet", "--upgrade", PIP]
    ensured = subprocess.run([python, "-m", "ensurepip", "--default-pip"], capture_output=True)  # noqa: S603 - our own words
    command = (
        [python, "-m", "pip"]
        if ensured.returncode == 0
        else [sys.executable, "-m", "pip", "--python", python]
    )
    if subprocess.run([*command, *install]).returncode:  # noqa: S603
        sys.exit(
            "There is no usable pip. On Debian: apt-get install python3-pip (22.3 or newer) or python3-venv"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
