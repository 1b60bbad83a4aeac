"""A job among those that it is connected with, and the tree that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from .job import JobState

_OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.UNKNOWN)
ENDED = tuple(state for state in JobState if state not in _OPEN)


class Relative(NamedTuple):
    """A job and its connections. Without a ``state`` it is announced and not enqueued yet.

    ``chord_id`` is the body of the chord that it is a part of; ``chord_size`` of a body is its number of parts.
    ``origin_id`` is the job of which it is a copy.
    """

    job_id: str
    task: str = ""
    state: JobState | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    chord_id: str | None = None
    chord_size: int | None = None
    worker: str | None = None
    due_at: datetime | None = None
    origin_id: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED


class Parts(NamedTuple):
    """The parts of a chord: how many there are, how many of them by state, and the first ones that are open or dead.

    ``counts`` has the parts that are enqueued; of a chain that is a part, only the last job counts.
    """

    size: int
    counts: Mapping[JobState, int]
    open: tuple[Relative, ...] = ()
    dead: tuple[Relative, ...] = ()

    @property
    def left(self) -> int:
        """How many have not succeeded."""
        return max(0, self.size - self.counts.get(JobState.SUCCEEDED, 0))


@dataclass(frozen=True, slots=True)
class Family:
    """A job (``this``) and its relatives, as far as they were read; ``parts`` of the chord whose body it is.

    ``copies`` are the ids of its copies, the oldest first.
    """

    this: Relative
    members: Mapping[str, Relative] = field(default_factory=dict)
    parts: Parts | None = None
    copies: tuple[str, ...] = ()

    @property
    def parent(self) -> Relative | None:
        """The job that enqueued it, or the one before it in its chain."""
        return self.members.get(self.this.parent_id or "")

    @property
    def body(self) -> Relative | None:
        """The body of the chord that it is a part of."""
        return self.members.get(self.this.chord_id or "")

    def following(self) -> list[Relative]:
        """The jobs of its chain that are not enqueued yet, in their order."""
        found: list[Relative] = []
        last = self.this.job_id
        while len(found) < len(self.members):
            after = [one for one in self.members.values() if one.parent_id == last and one.state is None]
            if len(after) != 1:
                break
            found.append(after[0])
            last = after[0].job_id
        return found


@dataclass(frozen=True, slots=True)
class Branch:
    """A job in the tree. ``parts`` are those for which it waits, ``children`` those that it enqueued or that follow."""

    job: Relative
    parts: tuple[Branch, ...] = ()
    children: tuple[Branch, ...] = ()


def tree(family: Family) -> tuple[Branch, ...]:
    """The members as trees, the oldest first: children below their parent, the parts of a chord below its body.

    The body stands where its parts would: below the job that enqueued them. (Celery calls the part that ended last its
    parent.)
    """
    members = dict(sorted({**family.members, family.this.job_id: family.this}.items()))
    parts: dict[str, list[Relative]] = {}
    for one in members.values():
        if one.chord_id in members and one.chord_id != one.job_id:
            parts.setdefault(one.chord_id or "", []).append(one)
    under: dict[str | None, list[Relative]] = {}
    for one in members.values():
        if one.chord_id not in parts:
            under.setdefault(_above(one, members, parts), []).append(one)
    return tuple(_branch(one, under, parts, set()) for one in under.get(None, ()))


def _above(one: Relative, members: Mapping[str, Relative], parts: Mapping[str, list[Relative]]) -> str | None:
    """The member below which ``one`` stands; None at the top."""
    if one.job_id in parts:
        inside = {part.job_id for part in parts[one.job_id]}
        for part in parts[one.job_id]:
            if part.parent_id in members and part.parent_id not in inside:
                return part.parent_id
        return one.parent_id if one.parent_id in members and one.parent_id not in inside else None
    return one.parent_id if one.parent_id in members and one.parent_id != one.job_id else None


def _branch(
    one: Relative,
    under: Mapping[str | None, Iterable[Relative]],
    parts: Mapping[str, Iterable[Relative]],
    seen: set[str],
) -> Branch:
    seen.add(one.job_id)

    def below(found: Iterable[Relative]) -> tuple[Branch, ...]:
        return tuple(_branch(each, under, parts, seen) for each in found if each.job_id not in seen)

    return Branch(one, below(parts.get(one.job_id, ())), below(under.get(one.job_id, ())))


__all__ = ["ENDED", "Branch", "Family", "Parts", "Relative", "tree"]
