"""Signals for one job (hard limits, ``terminate``), which never reach another job that its child has begun meanwhile.

The child is stopped; once it stands still, its slot and its ring tell whether it still runs that job. Then it gets the
signal, or none, and goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .accounts import Account
from .process import Process
from .signals import SOFT_LIMIT
from .slot import Phase


class Order(NamedTuple):
    """Send ``signum`` to whoever runs ``account``; ``why`` is told if the job is lost by it."""

    account: Account
    signum: int
    why: str


@dataclass(slots=True)
class _Stopped:
    process: Process
    orders: list[Order] = field(default_factory=list)


class Stops:
    """The children that were stopped and not judged yet. ``look`` has the parent read all slots and rings."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._stopped: dict[int, _Stopped] = {}

    def __bool__(self) -> bool:
        return bool(self._stopped)

    def stop(self, process: Process, order: Order) -> None:
        """Stop ``process``; ``judge`` carries out the order or lets the process go on."""
        self._stopped.setdefault(process.pid, _Stopped(process)).orders.append(order)
        process.send(signal.SIGSTOP)

    def forget(self, process: Process) -> None:
        """It is dead."""
        self._stopped.pop(process.pid, None)

    def judge(self) -> None:
        """Judge those that have stopped, each for all its orders at once, because it goes on afterwards."""
        still = [each for each in self._stopped.values() if each.process.is_stopped()]
        if not still:
            return
        self._look()
        for each in still:
            del self._stopped[each.process.pid]
            for order in each.orders:
                if order.account.running and _runs(each.process, order.account.ticket):
                    _carry_out(order, each.process)
            each.process.send(signal.SIGCONT)


def _runs(process: Process, ticket: int) -> bool:
    mark = process.slot.read(process.pid)
    return mark is not None and mark.ticket == ticket and mark.phase is Phase.RUNS


def _carry_out(order: Order, process: Process) -> None:
    order.account.why = order.why
    if order.signum == SOFT_LIMIT:
        process.slot.reach_soft_limit(order.account.ticket)
    process.send(order.signum)


__all__ = ["Order", "Stops"]
