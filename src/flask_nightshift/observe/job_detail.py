"""One job with all that is known about it: its attempts, its relatives, what comes next, and why it waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from .. import journal
from ..domain.job import JobState
from ..domain.orders import Pause
from ..domain.record import JobRecord
from ..domain.relatives import Branch, Family, Relative, tree
from ..services import Services
from . import pauses
from .waiting import Waiting, waiting_for


@dataclass(frozen=True, slots=True)
class Next:
    """What comes next. ``what`` is ``retry`` or ``start`` of this job at ``at``, or a ``job`` or ``chord`` after it."""

    what: str
    at: datetime | None = None
    job_id: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True)
class JobDetail:
    """A job, its relatives, what comes next, why it waits (None: it does not), and the pause of its queue, if any."""

    record: JobRecord
    family: Family | None
    following: tuple[Next, ...]
    waiting: Waiting | None
    paused: Pause | None = None

    @property
    def trees(self) -> tuple[Branch, ...]:
        """The trees of its relatives; empty if it has none."""
        if self.family is None or len(self.family.members) < 2:
            return ()
        return tree(self.family)

    def as_dict(self) -> dict[str, Any]:
        """The record with its attempts, and ``relations``, ``family``, ``next`` and ``waiting``, in plain values."""
        this = self.family.this if self.family is not None else Relative(self.record.id)
        return {
            **asdict(self.record),
            "queue_paused": self.paused.as_dict() if self.paused is not None else None,
            "parent_id": this.parent_id,
            "root_id": this.root_id,
            "group_id": this.group_id,
            "chord_id": this.chord_id,
            "origin_id": this.origin_id,
            "copies": list(self.family.copies) if self.family is not None else [],
            "family": [_branch(each) for each in self.trees],
            "next": [asdict(each) for each in self.following],
            "waiting": self.waiting.as_dict() if self.waiting is not None else None,
        }


def detail(services: Services, record: JobRecord) -> JobDetail:
    """All that is known about the job of ``record``; raises ``DatabaseUnavailable``."""
    family = journal.find_family(services.store, record.id)
    waiting = waiting_for(services, record, family)
    paused = pauses.of_queue(services, record.queue) if record.queue else None
    return JobDetail(record, family, tuple(_next(record, family)), waiting, paused)


def _next(record: JobRecord, family: Family | None) -> Iterator[Next]:
    if record.state is JobState.RETRYING and record.due_at is not None:
        yield Next("retry", record.due_at)
    elif record.state is JobState.QUEUED and record.due_at is not None:
        yield Next("start", record.due_at)
    if family is None:
        return
    for one in family.following():
        yield Next("job", job_id=one.job_id, task=one.task)
    if family.body is not None and family.body.state is None:
        yield Next("chord", job_id=family.body.job_id, task=family.body.task)


def _branch(branch: Branch) -> dict[str, Any]:
    """A tree in plain JSON types; a ``state`` of None means that the job is not enqueued yet."""
    job = branch.job
    return {
        "job_id": job.job_id,
        "task": job.task,
        "state": str(job.state) if job.state is not None else None,
        "worker": job.worker,
        "due_at": job.due_at,
        "parts": [_branch(each) for each in branch.parts],
        "children": [_branch(each) for each in branch.children],
    }


__all__ = ["JobDetail", "Next", "detail"]
