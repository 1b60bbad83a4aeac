"""The processor time of imports: fresh interpreters, one after another in turn, so that noise meets all of them."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .errors import PeerFailed
from .processes import environment, program

TIMES = 9
LIBRARIES = "flask, celery, redis, sqlalchemy"
STATEMENTS = {
    "libraries": f"import {LIBRARIES}",
    "package": "import flask_nightshift",
    "app": (
        "from flask import Flask\n"
        "from flask_nightshift import Nightshift\n"
        "app = Flask('imports', instance_path={home!r})\n"
        "app.config['NIGHTSHIFT_BROKER_URL'] = 'redis://localhost:1/0'\n"
        "Nightshift(app)"
    ),
    "app_by_hand": (
        "from celery import Celery\n"
        "from flask import Flask\n"
        "from redis import Redis\n"
        "from sqlalchemy import create_engine\n"
        "Flask('imports')\n"
        "Celery('imports', broker='redis://localhost:1/0')\n"
        "Redis.from_url('redis://localhost:1/0')\n"
        "create_engine('sqlite://')"
    ),
}
"""What a fresh interpreter runs: the libraries, our package, an app with it, and an app without it that makes the
same libraries' objects."""


def measure(home: Path) -> dict[str, float]:
    """Seconds of processor time of each of ``STATEMENTS``, without an interpreter's own; medians.

    Raises ``PeerFailed`` if one fails.
    """
    codes = {name: code.replace("{home!r}", repr(str(home))) for name, code in STATEMENTS.items()}
    codes["nothing"] = "pass"
    found: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(TIMES + 1):
        for name, code in codes.items():
            taken = _cpu(code, {})
            if turn:  # the first turn reads the files from the disk
                found[name].append(taken)
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {name: medians[name] - medians["nothing"] for name in STATEMENTS}


def _cpu(code: str, extra: Mapping[str, str]) -> float:
    popen = subprocess.Popen(
        program(["python", "-c", code]),
        env=environment(extra),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert popen.stderr is not None
    said = popen.stderr.read()
    _, status, used = os.wait4(popen.pid, 0)
    popen.stderr.close()
    popen.returncode = os.waitstatus_to_exitcode(status)
    if popen.returncode:
        raise PeerFailed(f"`{code.splitlines()[0]}` failed: {said.decode(errors='replace').strip()[-200:]}")
    return used.ru_utime + used.ru_stime
