"""The bodies of the jobs, the same for Nightshift and stock Celery; they run in a worker's child process."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from .ledger import recorded


def work(request: Any, seconds: float, failures: int) -> None:
    """Work for ``seconds``, then raise if this is one of the first ``failures`` attempts."""
    with recorded(os.environ["CHAOS_LEDGER"], request.id, request.retries):
        time.sleep(seconds)
        if request.retries < failures:
            raise ConnectionError(f"the partner of {request.id} is down")


def kill_worker(request: Any) -> None:
    """Kill the worker that runs this: its main process, all children, itself."""
    with recorded(os.environ["CHAOS_LEDGER"], request.id, request.retries):
        os.killpg(os.getpgrp(), signal.SIGKILL)
