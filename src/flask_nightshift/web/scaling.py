"""``GET /nightshift/scale``: how many workers queues need, for an autoscaler; opens like ``/metrics``.

While something cannot be asked the answer is 503, and an autoscaler keeps the number of workers.
"""

from __future__ import annotations

import math

from flask import Response, request

from .. import services
from ..errors import QueueNotFound
from .trust import answer, forbidden, trusted

TARGET, LONGEST = 30.0, 86_400.0
"""Seconds that a job may wait, unless the caller says; and the most that it may say."""
MOST_PLACES = 100_000
MOST_QUEUES = 100
PARAMETERS = ("queue", "target", "places")


def scale() -> Response:
    """Say how many workers queues need, for an autoscaler.

    ``?queue=…`` names a queue, and may be repeated (default: all); ``?target=`` is the wanted wait in seconds;
    ``?places=`` is the number of jobs that one worker runs at once. 403 for strangers. 503 while something cannot be
    asked; an autoscaler then keeps the number of workers.
    """
    current = services.current()
    if not trusted(request, current.settings):
        return forbidden(current.settings, "The scaling signals are")
    try:
        names, target, places = _asked()
    except ValueError as exc:
        return answer({"error": "bad request", "message": str(exc)}, 400)
    from ..observe import scaling

    try:
        found = scaling.scale(current, names, target=target, places=places)
    except QueueNotFound as exc:
        return answer({"error": "unknown queue", "message": str(exc)}, 404)
    return answer(found.as_dict(), 503 if found.problems else 200)


def _asked() -> tuple[list[str], float, float | None]:
    """The queues, the target in seconds, and the places of a worker; raises ``ValueError`` with what is allowed."""
    for name in request.args:
        if name not in PARAMETERS:
            raise ValueError(f"there is no parameter {name!r}; the parameters are {', '.join(PARAMETERS)}")
    names = request.args.getlist("queue")
    if "" in names:
        raise ValueError("queue= needs the name of a queue; leave it out for all queues")
    if len(names) > MOST_QUEUES:
        raise ValueError(f"{len(names)} queues are too many; at most {MOST_QUEUES} can be asked for at once")
    places = _number("places", MOST_PLACES) if "places" in request.args else None
    return names, _number("target", LONGEST) if "target" in request.args else TARGET, places


def _number(name: str, most: float) -> float:
    given = request.args.getlist(name)
    try:
        [number] = map(float, given)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        shown = given[0] if len(given) == 1 else ", ".join(given)
        raise ValueError(f"{name}={shown!r} is not usable: give one number above 0 and up to {most:g}")
    return number


__all__ = ["scale"]
