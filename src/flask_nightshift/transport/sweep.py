"""Finding consumers that are gone and returning what they had.

Every keeper sweeps. A consumer is gone when its deadline has passed, or, much sooner, when its keeper's
connection is missing from the server's list of clients at two sightings ``GRACE`` seconds apart. Where the
server refuses or mistells that list, the deadline alone decides. A deadline that nobody saw coming, because the
server or the whole machine stood still, gives its consumer the time to renew.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.exceptions import ResponseError

from . import keys, scripts

if TYPE_CHECKING:
    from .lease import Lease

logger = logging.getLogger("flask_nightshift.transport")

GRACE = 2.0
"""Seconds for which a client must have been missing."""
AFTER_OUTAGE = 5.0
"""Seconds after an outage in which nobody is declared gone: the others are just coming back too."""
INTERVAL = 1.0
LATE_AT, LATE_FOR = 2.0, 1.5
"""In renewals: how long before its deadline a consumer is late, and how long it must have been seen so. With the
default of five renewals to a lease, a frozen consumer is taken for gone at its deadline, as it would be without.
"""
CROWD = 32
"""With more consumers than this each sweeps less often; together they still sweep often enough."""
AT_ONCE = 20


def interval(consumers: int) -> float:
    """Seconds between two sweeps of one consumer among ``consumers``."""
    return INTERVAL * max(1.0, consumers / CROWD)


def patience(client: Redis) -> float:
    """Seconds to wait before the first sweep: a server that has just started knows nobody yet."""
    try:
        uptime = float(client.info("server").get("uptime_in_seconds", AFTER_OUTAGE))
    except ResponseError:  # not allowed to ask
        return 0.0
    return max(0.0, AFTER_OUTAGE - uptime)


def sweep(client: Redis, lease: Lease) -> int:
    """Look once for consumers that are gone, other than ``lease``'s own; how many consumers there are."""
    prefix = lease.space.prefix
    registered = _text(client.hgetall(keys.clients(prefix)))
    if set(registered) <= {lease.id}:
        return 1
    own = registered.get(lease.id, "")
    missing = _missing(
        client, own, {name: cid for name, cid in registered.items() if name != lease.id and cid}
    )
    renewal = lease.options.lease_renew_seconds
    names = [name(prefix) for name in (keys.consumers, keys.clients, keys.suspects, keys.late, keys.leased)]
    args = [keys.lease(prefix, ""), prefix, lease.space.sep, keys.bell(prefix, ""), AT_ONCE]
    args += [GRACE, LATE_AT * renewal, LATE_FOR * renewal]
    args += [text for pair in missing.items() for text in pair]
    swept = scripts.SWEEP.run(client, names, args)
    for name, returned in zip(swept[::2], swept[1::2], strict=True):
        logger.warning("job.returned consumer=%s messages=%d reason=worker_gone", name.decode(), returned)
    return len(registered)


def _text(raw: Any) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in raw.items()}


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
