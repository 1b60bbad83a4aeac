"""Finding consumers that are gone and returning what they had.

Every renewer looks for them. A consumer is gone when its deadline has passed, or, much sooner, when its renewer's
connection is missing from the server's list of clients at two sightings ``GRACE`` seconds apart. Where the
server refuses or mistells that list, the deadline alone decides. A deadline that nobody saw coming, because the
server or the whole machine stood still, gives its consumer the time to renew.
"""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from . import log, scripts
from .keys import KeySpace
from .options import Options

GRACE = 2.0
"""Seconds for which a client must have been missing."""
AFTER_OUTAGE = 5.0
"""Seconds after an outage in which nobody is declared gone: the others are just coming back too."""
INTERVAL = 1.9
"""Seconds; a little less than two of a renewer's pulses, with which it goes."""
LATE_FOR = 1.5
"""Renewals for which a consumer must have been seen late, half a lease without one and more, to be gone. With the
default of five renewals to a lease that is so at its deadline.
"""
CROWD = 32
"""With more consumers than this each looks less often; together they still look often enough."""
AT_ONCE = 20
TRIES = 3
_outage_at = float("-inf")


def interval(consumers: int) -> float:
    """Seconds between two looks of one consumer among ``consumers``."""
    return INTERVAL * max(1.0, consumers / CROWD)


def patience(client: Redis) -> float:
    """Seconds to wait before the first look: a server that has just started knows nobody yet, and whatever cut
    this process off may have cut off the others.
    """
    calm = monotonic() - _outage_at
    with contextlib.suppress(ResponseError):  # not allowed to ask
        calm = min(calm, float(client.info("server").get("uptime_in_seconds", AFTER_OUTAGE)))
    return max(0.0, AFTER_OUTAGE - calm)


def note_outage() -> None:
    """A renewer of this process has lost its connection."""
    global _outage_at  # of the process: a consumer that connects again has a new renewer
    _outage_at = monotonic()


def reclaim(
    client: Redis, own_id: str, keys: KeySpace, options: Options, late: int, registered: dict[str, str]
) -> int:
    """Look once for consumers that are gone, other than ``own_id``; how many seem to be.

    ``late`` and ``registered`` are what ``Lease.pulse`` gave.
    """
    own = registered.get(own_id, "")
    missing = _missing(client, own, {name: cid for name, cid in registered.items() if name != own_id and cid})
    if not (late or missing):
        return 0
    seconds, renewal = options.lease_seconds, options.lease_renew_seconds
    args: list[Any] = [AT_ONCE, GRACE, (seconds - renewal) / 2, LATE_FOR * renewal, len(missing)]
    args += [text for pair in missing.items() for text in pair]
    names = [keys.consumers, keys.clients, keys.suspects, keys.late]
    for consumer in scripts.RECLAIM.run(client, names, ["", *args]):
        _reclaim(client, consumer.decode(), keys, names, args)
    return len(missing)


def _reclaim(client: Redis, consumer: str, keys: KeySpace, names: list[str], args: list[Any]) -> None:
    """Return the messages of ``consumer``, if it is dead; again if it got some of another queue meanwhile."""
    lease, total, begun = keys.lease(consumer), 0, list[str]()
    for _ in range(TRIES):
        held = [part.decode() for part in scripts.HELD.run(client, [lease], [])]
        place_keys, places = keys.places(list(zip(held[::2], held[1::2], strict=True)))
        where = [*names, keys.leased, lease, keys.started(consumer), *place_keys]
        reply = scripts.RECLAIM.run(client, where, [consumer, *args, *places])
        if not reply:  # another consumer was faster, or it lives
            return
        returned, some_left, told = reply
        total, begun = total + returned, begun + [text.decode(errors="replace") for text in told]
        if not some_left:
            break
    else:  # the next look finds it dead again
        return
    log.taken_over(consumer, total, begun)


def _missing(client: Redis, own: str, others: dict[str, str]) -> dict[str, str]:
    if not own or not others:
        return {}
    try:
        shown = {str(entry["id"]) for entry in client.client_list(client_id=[own, *others.values()])}
    except ResponseError:  # not allowed to, or a server older than 6.2
        return {}
    if own not in shown:  # a proxy stands between: the list tells nothing
        return {}
    return {name: cid for name, cid in others.items() if cid not in shown}
