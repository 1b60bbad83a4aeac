"""Renews the claim of a portion while its worker carries it out, so only a worker that died is overtaken."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Self

from ...background.loop import Backoff, Loop, Work
from ...store import bulk_actions as rows

SHARE = 4
"""Renewals in the time of one lease."""
LEASES = 6
"""Leases after which a portion that does not end may be overtaken all the same: something hangs."""

logger = logging.getLogger("flask_nightshift.worker.bulk")


class Keeper(Work):
    """A context in which ``renew`` is called now and then; it returns whether the claim is still the worker's."""

    def __init__(self, renew: Callable[[], bool]) -> None:
        self._renew = renew
        lease = rows.LEASE.total_seconds()
        self._every = lease / SHARE
        self._due = monotonic() + self._every
        self._until = monotonic() + LEASES * lease
        self._loop = Loop(self, "nightshift-bulk-claim", Backoff(first=self._every / 4, most=self._every))

    def __enter__(self) -> Self:
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.stop(1.0)

    def turn(self) -> float | None:
        """Renew the claim if it is time to; returns the seconds until the next renewal."""
        now = monotonic()
        if now >= self._until:
            return None
        if now >= self._due:
            if not self._renew():
                return None
            self._due = now + self._every
        return max(0.0, self._due - now)

    def failed(self) -> None:
        """The next renewal may succeed."""
        logger.exception("bulk.claim_not_renewed")


__all__ = ["Keeper"]
