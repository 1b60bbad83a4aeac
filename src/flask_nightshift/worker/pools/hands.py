"""The jobs that the pool ``prefork`` has: who is told the kernel's events, and how many jobs there may be."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from typing import Any

from .ahead import Ahead
from .handed import Handed
from .places import Places
from .revoked import is_revoked, revocations
from .shared import Ended, Event, Lost, Refused, Returned, SoftLimit, Started


class Hands:
    """The jobs that were handed to the pool and have not ended; ``semaphore`` is Celery's."""

    def __init__(self, semaphore: Any) -> None:
        self._jobs: dict[int, Handed] = {}
        self._places = Places(semaphore)
        self._ahead, self._extra = Ahead(), 0
        self._revoked = revocations()
        self._kept: deque[Event] = deque()
        self.keeps = False
        """Whether only ``Returned`` is passed on at present; ``hear_what_was_kept`` passes on the other events."""
        self.ending = 0
        """The child whose ended job is being reported; it may run the next job by now."""

    def take(self, handed: Handed) -> None:
        """``handed`` goes to the children; Celery has taken a place of the semaphore for it."""
        self._jobs[handed.number] = handed
        self._places.take()

    def of(self, number: int) -> Handed:
        """The job of that number."""
        return self._jobs[number]

    @property
    def all_have_started(self) -> bool:
        """Whether no job waits in the queue, as far as is known."""
        kept = {event.job for event in self._kept}
        return all(each.started or each.number in kept for each in self._jobs.values())

    @property
    def unstarted(self) -> int:
        """How many have not started, as far as is known."""
        return sum(not each.started for each in self._jobs.values())

    def take_back_unstarted(self, ids: Container[str] | None = None) -> list[int]:
        """The numbers of those of ``ids`` (None: of all) that have not started; they are told if they come back."""
        found = [
            each for each in self._jobs.values() if not each.started and (ids is None or each.job_id in ids)
        ]
        for each in found:
            each.comes_back = True
        return [each.number for each in found]

    # -- what the kernel tells -----------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Tell the job; to be called by the kernel with each event. Raises what the next job's start raises."""
        if self.keeps and not isinstance(event, Returned):
            self._kept.append(event)
        else:
            self._pass_on(event)

    def hear_what_was_kept(self) -> None:
        """Pass on what was kept."""
        while self._kept:
            self._pass_on(self._kept.popleft())

    def _pass_on(self, event: Event) -> None:
        handed = self._jobs[event.job]
        match event:
            case Started():
                handed.start(event.child, event.at)
            case SoftLimit():
                handed.reach_soft_limit()
            case Ended() | Lost() | Refused() | Returned():
                del self._jobs[event.job]
                try:
                    self._end(handed, event)
                finally:
                    self.ending = 0
                    if handed.has_place:
                        handed.has_place = False
                        self._places.free()

    def _end(self, handed: Handed, event: Ended | Lost | Refused | Returned) -> None:
        match event:
            case Ended():
                self._ahead.ended(event.runtime)
                self.ending = event.child
                handed.end(event)
            case Lost():
                handed.be_lost(event)
            case Refused():
                handed.be_refused(event.why)
            case Returned() if handed.signum is not None:
                handed.be_terminated()
            case Returned() if not self.keeps and (handed.comes_back or _is_revoked(handed)):
                handed.come_back()

    # -- how many ------------------------------------------------------------------------------------------

    def change_places(self, by: int) -> None:
        """Add places for ``by`` new children, or remove them if ``by`` is negative."""
        self._places.change(by)

    def look_ahead(self, children: int) -> None:
        """Have a place for each child, and a few more if jobs are short."""
        more = self._ahead.jobs(children) - self._extra
        if more:
            self._extra += more
            self._places.change(more)

    def give_up_places(self) -> None:
        """Celery has cleared its semaphore: no job has a place any more."""
        for handed in self._jobs.values():
            handed.has_place = False
        self._places.forget()

    def newly_revoked(self) -> Iterator[int]:
        """The numbers of the jobs that were revoked since the last call and have not started, as far as is known."""
        known, self._revoked = self._revoked, revocations()
        if self._revoked != known:
            yield from [each.number for each in self._jobs.values() if not each.started and _is_revoked(each)]


def _is_revoked(handed: Handed) -> bool:
    return is_revoked(handed.job_id, handed.stamps)


__all__ = ["Hands"]
