"""The sweep of kombu's binding tables, which workers' broadcasts and their replies leave behind.

kombu's own script makes up the names of the tables. Serverless servers and Dragonfly refuse keys that are not declared.
"""

from __future__ import annotations

import time
from typing import Any

from redis import Redis

from . import scripts


def sweep(client: Redis, prefix: str, deadlines: str, table: str, permanent: str, limit: int) -> int:
    """Forget up to ``limit`` exchanges whose deadline has passed; how many.

    ``deadlines`` is kombu's sorted set. ``table`` and ``permanent`` are its names of keys with ``%s`` for the exchange.
    All of them come after ``prefix``.
    """
    overdue: Any = client.zrangebyscore(prefix + deadlines, "-inf", int(time.time() * 1000), 0, limit)
    swept = 0
    for exchange in (name.decode() for name in overdue):
        keys = [prefix + deadlines, prefix + table % exchange, prefix + permanent % exchange]
        swept += int(scripts.SWEEP.run(client, keys, [exchange]))
    return swept


__all__ = ["sweep"]
