"""The app of the system tests, with durable jobs."""

from __future__ import annotations

import time

from jobsapp import FAST, begun, create_app, jobs, note

__all__ = ["create_app", "keep"]


@jobs.task(name="test.keep", durable=True, **FAST)
def keep(marker: str, seconds: float = 0, failures: int = 0) -> None:
    note(marker, "begun")
    time.sleep(seconds)
    if begun(marker) <= failures:
        raise ConnectionError(f"the partner of {marker} is down")
    note(marker, "done")
