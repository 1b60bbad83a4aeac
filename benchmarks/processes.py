"""The processes of a trial: each starts in its own session, is observed as a tree, and ends with the trial."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from .errors import PeerFailed

ROOT = Path(__file__).parents[1]
STOP_SECONDS = 3
PR_SET_PDEATHSIG = 1
NOT_INHERITED = frozenset(
    {"PYTHONDONTWRITEBYTECODE", "PYTHONDEVMODE", "PYTHONOPTIMIZE", "PYTHONPROFILEIMPORTTIME"}
)
"""Variables that would slow down or speed up what is measured."""
_FOLDER = re.compile(r"(?<![\w:/])/(?:[\w.@+-]+/)+")


def venv_folder(venv: str = "") -> Path:
    """This virtual environment, or the one beside it that is named for ``venv``."""
    return Path(f"{sys.prefix}-{venv}" if venv else sys.prefix)


def program(words: list[str], venv: str = "") -> list[str]:
    """The command line of a program in a virtual environment."""
    return [str(venv_folder(venv) / "bin" / words[0]), *words[1:]]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of every process of a trial."""
    inherited = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **extra}


def run(words: list[str], env: Mapping[str, str], log: Path) -> None:
    """Run a command and wait for its end; raises ``PeerFailed`` if it fails."""
    with log.open("ab") as output:
        done = subprocess.run(
            program(words), env=environment(env), cwd=ROOT, stdout=output, stderr=output, timeout=60
        )
    if done.returncode:
        raise PeerFailed(f"`{' '.join(words)}` exited with {done.returncode}: {last_line(log)}")


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, without paths of this machine."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return _FOLDER.sub("", lines[-1])[:300] if lines else "its log is empty"


class Tree:
    """A process, its descendants, and its log."""

    def __init__(
        self, words: list[str], env: Mapping[str, str], log: Path, venv: str = "", **options: Any
    ) -> None:
        self.words, self.log = words, log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                program(words, venv),
                env=environment(env),
                cwd=ROOT,
                stdout=options.pop("stdout", output),
                stderr=output,
                stdin=options.pop("stdin", subprocess.DEVNULL),
                start_new_session=True,
                preexec_fn=_die_with_parent,
                **options,
            )

    def check(self) -> None:
        """Raise ``PeerFailed`` if it has ended."""
        if self.popen.poll() is not None:
            raise PeerFailed(f"`{self.words[0]}` exited with {self.popen.returncode}: {last_line(self.log)}")

    def last_line(self) -> str:
        """The last line of its log."""
        return last_line(self.log)

    def family(self) -> list[psutil.Process]:
        """All its living processes."""
        try:
            parent = psutil.Process(self.popen.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def memory(self) -> int:
        """Bytes of memory; shared memory counts once (PSS)."""
        total = 0
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        total = 0.0
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                total += cpu_of(process)
        return total

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Send SIGTERM, wait for up to ``seconds``, then kill what is left."""
        family = self.family()
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.popen.wait()


def cpu_of(process: psutil.Process) -> float:
    """Seconds of processor time, more precise than the kernel's ticks of 10 ms where it tells each thread's."""
    times = process.cpu_times()  # with the threads that have ended
    nanoseconds = 0
    for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread ended meanwhile
            nanoseconds += int(file.read_text().split()[0])
    return max(nanoseconds / 1e9, float(times.user + times.system))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
