"""Publish durable jobs again after the broker has lost its data."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..domain.job import utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..outbox import recovery
from ..outbox.recovery import Recovered
from ..services import Services
from ..store import heartbeats
from ..text.counts import plural

LOOK_AGAIN = 1.0
"""Seconds between two looks at jobs that live workers run."""


def recover(
    services: Services,
    *,
    dry_run: bool = False,
    patience: float = 0.0,
    wait: Callable[[float], object] = time.sleep,
) -> Recovered:
    """Publish each durable job again that has not ended and that no live worker runs, as a new run.

    A message of the job that still exists does not run any more. It waits up to ``patience`` seconds for the jobs that
    live workers run now: most end, and those that a worker loses are published, too. Raises ``BrokerUnavailable`` and
    ``DatabaseUnavailable``; a second call goes on.
    """
    services.broker.health()
    until = time.monotonic() + patience
    relays = services.relays("recover")
    held: list[set[str] | None] = [None] * len(relays)
    jobs = waiting = 0
    while True:
        for at, relay in enumerate(relays):
            found = recovery.look(
                relay.store, lambda: heartbeats.workers(services.store, utcnow()), wait, held[at]
            )
            held[at] = found.held
            if dry_run:
                jobs += len(found.lost)
                continue
            try:
                for published, refused in recovery.publish(relay, found.lost):
                    jobs += published
                    waiting += refused
            except (BrokerUnavailable, DatabaseUnavailable) as exc:
                exc.acted_on = jobs
                exc.add_note(f"{plural(jobs, 'job')} had been published before. Recover again for the rest.")
                raise
        if dry_run or not any(held) or time.monotonic() >= until:
            break
        wait(LOOK_AGAIN)
    services.journal.flush()
    return Recovered(jobs, sum(len(rows or ()) for rows in held), waiting)


__all__ = ["Recovered", "recover"]
