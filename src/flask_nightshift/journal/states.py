"""Reads what became of several jobs, without their attempts."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select

from ..domain.job import JobState
from ..store import Store
from ..store.tables import jobs


class State(NamedTuple):
    """A job's state, and its last failure until it succeeds."""

    state: JobState
    error: str | None
    message: str | None


def states(store: Store, ids: Collection[str]) -> dict[str, State]:
    """The states of the jobs that the history knows, by their ids; raises ``DatabaseUnavailable``."""
    if not ids:
        return {}
    columns = (jobs.c.id, jobs.c.state, jobs.c.error, jobs.c.error_message)
    with store.read() as connection:
        rows = connection.execute(select(*columns).where(jobs.c.id.in_(ids))).all()
    return {row.id: State(JobState(row.state), row.error, row.error_message) for row in rows}


__all__ = ["State", "states"]
