"""The tasks: which of them fail, which are slow, and which keep the workers busy."""

from __future__ import annotations

import enum
from typing import TypeVar

from ....errors import DatabaseUnavailable
from ....observe import tasks as read
from ....observe.tasks import Order
from ....observe.trends import Period
from ..call import Call, Refused, View, show
from ..routing import page

Choice = TypeVar("Choice", bound=enum.StrEnum)

SHOWN = 200
"""Tasks on the page, in its order."""
PERIODS = {Period.HOUR: "Hour", Period.DAY: "Day", Period.MONTH: "30 days"}
ORDERS = {Order.BUSIEST: "Busiest", Order.FAILING: "Failing", Order.SLOWEST: "Slowest", Order.NAME: "Name"}


@page("/tasks", title="Tasks", nav="Tasks")
def tasks(call: Call) -> View:
    """Each task of which an attempt ended within the period."""
    period, order = _one_of(Period, call.text("period")), _one_of(Order, call.text("order"))
    answer = read.kept(call.services, period)
    if not answer.ok:
        raise DatabaseUnavailable(f"{answer.error}")
    rows = answer.value.ordered(order)
    return show(
        "tasks.html",
        rows=rows[:SHOWN],
        total=len(rows),
        busiest=max((row.seconds for row in rows), default=0.0),
        period=PERIODS[period],
        periods=[
            (text, call.here(period=None if each is Period.HOUR else each.value), each is period)
            for each, text in PERIODS.items()
        ],
        orders=[
            (text, call.here(order=None if each is Order.BUSIEST else each.value), each is order)
            for each, text in ORDERS.items()
        ],
    )


def _one_of(choices: type[Choice], given: str) -> Choice:
    """The choice that the address names, by default the first; raises ``Refused``."""
    try:
        return choices(given) if given else next(iter(choices))
    except ValueError:
        raise Refused(
            400, "There is no such choice", f"{given[:40]!r}: use one of {', '.join(choices)}."
        ) from None


__all__ = ["tasks"]
