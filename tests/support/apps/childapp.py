"""The app of ``jobsapp.py``, which writes to the ledger what its worker's children are told of their life."""

from __future__ import annotations

import os
import time
from typing import Any

import billiard
from celery import signals

from jobsapp import create_app, note

__all__ = ["create_app"]


@signals.worker_process_init.connect
def begins(**_: Any) -> None:
    """Note the number of the process; end it if a test wants it, or be slow, once."""
    note("init", str(billiard.current_process().index))
    if os.environ.get("BROKEN_START"):
        raise SystemExit(7)
    if os.environ.get("SLOW_START") and not os.path.exists(os.environ["LEDGER"] + ".slow"):
        open(os.environ["LEDGER"] + ".slow", "w").close()
        time.sleep(60)


@signals.worker_process_shutdown.connect
def ends(pid: int, exitcode: int, **_: Any) -> None:
    """Note how the process ends."""
    note("shutdown", f"{exitcode} {pid == os.getpid()}")
