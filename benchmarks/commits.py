"""The source of another commit (``BASE``), to compare this one with it in the same run."""

from __future__ import annotations

import compileall
import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from .errors import WrongParameter
from .processes import ROOT

SOURCE = "BENCH_BASE"
"""The environment variable with its folder."""


def check(commit: str) -> str:
    """The full name of ``commit``; raises ``WrongParameter``."""
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if done.returncode:
        raise WrongParameter(f"BASE={commit}: there is no such commit here; allowed is what `git log` shows")
    return done.stdout.decode().strip()


def unpack(commit: str, folder: Path) -> None:
    """Write the commit's source into ``folder``, and tell the processes of the run where it is."""
    archive = _git("archive", "--format=tar", commit, "src")
    if archive.returncode:
        raise WrongParameter(f"BASE={commit}: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    precompile(folder / "src")
    os.environ[SOURCE] = str(folder / "src")


def precompile(*folders: Path) -> None:
    """Compile what is not compiled yet, as pip does with the other libraries."""
    for folder in folders:
        compileall.compile_dir(folder, quiet=2)


def _git(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True)
