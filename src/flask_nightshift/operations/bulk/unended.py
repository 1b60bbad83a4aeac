"""Which jobs that have not ended an action is about."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import select

from ...domain.job import JobState
from ...errors import ConfigurationError
from ...observe import jobs as listed
from ...observe.jobs import Filters
from ...store.tables import jobs, tags

STATES = {
    "cancel": (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING),
    "run": (JobState.QUEUED, JobState.RETRYING),
}
"""The states of jobs on which each action acts."""


@dataclass(frozen=True, slots=True)
class Unended(Filters):
    """Conditions for jobs in some states."""

    states: tuple[JobState, ...] = ()

    def conditions(self, columns: Any) -> list[Any]:
        """Those of the filters, and one for the states."""
        return [*Filters.conditions(self, columns), columns.state.in_(self.states)]


def wanted(action: str, filters: Filters) -> Unended:
    """The jobs of ``filters`` on which ``action`` acts; raises ``ConfigurationError`` for another state."""
    states = STATES[action]
    if filters.state is not None:
        if filters.state not in states:
            allowed = ", ".join(states)
            raise ConfigurationError("state", str(filters.state), f"{action} acts on jobs that are {allowed}")
        states = (JobState(filters.state),)
    return Unended(**{each.name: getattr(filters, each.name) for each in fields(Filters)}, states=states)


def others(wanted: Filters) -> list[Any]:
    """The conditions that ``Filters.conditions`` leaves to the list of jobs."""
    found: list[Any] = []
    if wanted.tag is not None:
        found.append(select(tags.c.tag).where(tags.c.job_id == jobs.c.id, tags.c.tag == wanted.tag).exists())
    if wanted.since is not None:
        found.append(jobs.c.enqueued_at >= wanted.since)
    if wanted.until is not None:
        found.append(jobs.c.enqueued_at < wanted.until)
    return [*found, *listed.searched(wanted)]


__all__ = ["STATES", "Unended", "others", "wanted"]
