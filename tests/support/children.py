"""Forked children for tests, as a web server forks its workers."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def fork(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child; returns its process id, for ``join``."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever ends the child is reported
        traceback.print_exc()
    finally:
        os._exit(status)


def join(*pids: int) -> None:
    """Wait for the children; fail if one of them failed."""
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0] * len(pids), "a child failed: see its traceback"
