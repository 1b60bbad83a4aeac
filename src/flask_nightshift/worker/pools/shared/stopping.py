"""A signal for one job, and for no other that its child may have begun meanwhile: hard limits and ``terminate``.

The child is stopped; once it stands still, its slot and its ring tell whether it still runs that job. Then it gets the
signal, or goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import NamedTuple

from . import soft_limit
from .accounts import Account
from .process import Process
from .slot import Phase


class Stop(NamedTuple):
    """A child that was stopped for the sake of one job."""

    process: Process
    account: Account
    signum: int
    why: str


class Stops:
    """The children that were stopped and not judged yet. ``look`` has the parent read slots and rings."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._stops: list[Stop] = []

    def __bool__(self) -> bool:
        return bool(self._stops)

    def stop(self, process: Process, account: Account, signum: int, why: str) -> None:
        """Stop ``process``, which runs ``account``; ``judge`` will send ``signum`` or let it go on."""
        process.send(signal.SIGSTOP)
        self._stops.append(Stop(process, account, signum, why))

    def forget(self, process: Process) -> None:
        """It is dead."""
        self._stops = [each for each in self._stops if each.process is not process]

    def judge(self) -> None:
        """Judge those that stand still by now."""
        if not self._stops:
            return
        still = [each for each in self._stops if each.process.is_stopped()]
        if not still:
            return
        self._look()
        for each in still:
            self._stops.remove(each)
            if each.account.running and _runs(each):
                each.account.why = each.why
                if each.signum == soft_limit.SIGNAL:
                    each.process.slot.reach_soft_limit(each.account.ticket)
                each.process.send(each.signum)
            each.process.send(signal.SIGCONT)


def _runs(stop: Stop) -> bool:
    mark = stop.process.slot.read(stop.process.pid)
    return mark is not None and mark.ticket == stop.account.ticket and mark.phase is Phase.RUNS


__all__ = ["Stops"]
