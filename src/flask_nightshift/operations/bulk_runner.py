"""Carries out bulk actions in the background of a worker, a portion at a time.

Every worker has one. It looks for a due portion now and then, and at once when somebody starts an action. A
portion is claimed, so one worker carries it out; the next portion may be another worker's.
"""

from __future__ import annotations

import logging
import random
import secrets

from ..background.loop import Backoff, Loop, Work
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..services import Services
from ..store import bulk_actions as rows
from ..store.bulk_actions import BulkAction
from ..text.passwords import hide_password

LOOK_EVERY = 15.0
"""Seconds between two looks, if nothing is open and nobody has told the worker that something is."""
MOST = {"replay": 500, "discard": 500, "cancel": 200, "run": 200}
"""The maximum number of jobs or dead letters in a portion."""
BACKOFF = Backoff(first=1.0, most=15.0)
"""Between two tries while the database is away."""
BROKER_BACKOFF = 5.0
"""Seconds until the next try while the broker is away."""
FAILED_BACKOFF = 10.0
MOST_FAILURES = 5
"""Failed tries of one portion, in one worker, after which the action ends as failed."""
FULL_SECONDS = 3.0
"""Seconds until the next look whether workers have met enough cancelled jobs."""
LEFT_SECONDS = 30.0
"""Seconds until the next try of an action that a newer version has started."""

logger = logging.getLogger("flask_nightshift.worker.bulk")


class Runner(Work):
    """The background loop of the worker ``worker`` that carries out bulk actions."""

    def __init__(self, services: Services, worker: str) -> None:
        self._services = services
        self._worker = worker
        self._name = f"{worker}.{secrets.token_hex(4)}"
        (self._relay, *_) = services.relays(worker)
        self._failures: dict[str, int] = {}
        self._loop = Loop(self, "nightshift-bulk", BACKOFF)

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self._loop.start()

    def wake(self) -> None:
        """Look now."""
        self._loop.wake()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after its current portion, and wait up to ``timeout`` seconds for its end."""
        self._loop.stop(timeout)

    def turn(self) -> float:
        """Carry out a portion of each action of which one is due; returns the seconds until the next turn."""
        wait = LOOK_EVERY * random.uniform(1.0, 1.2)  # noqa: S311 - no secret
        for action_id, seconds in rows.due(self._services.store, self._name):
            if seconds > 0:
                return min(wait, seconds)
            if self._loop.stopping:
                break
            action = rows.claim(self._services.store, action_id, self._name)
            if action is not None:
                self._carry_out(action)
                wait = 0.0
        return wait

    def _carry_out(self, action: BulkAction) -> None:
        # few workers ever carry one out, so the others do without these modules
        from .bulk import jobs, letters
        from .bulk.portion import Claim, NotUnderstood, NotYet, Overtaken, Portion

        size = max(1, min(int(action.rate), MOST.get(action.action, 1)))
        claim = Claim(self._services, action, self._name, self._worker)
        portion = Portion(self._services, action, size, self._relay, claim)
        try:
            with claim.kept():
                (letters if action.action in ("replay", "discard") else jobs).carry_out(portion)
        except Overtaken:
            logger.warning("bulk.overtaken", extra={"bulk_action": action.id})
        except NotYet as exc:
            self._postpone(action, str(exc), FULL_SECONDS)
        except NotUnderstood as exc:
            self._postpone(action, str(exc), LEFT_SECONDS)
        except BrokerUnavailable as exc:
            logger.warning("bulk.paused", extra={"bulk_action": action.id, "error": str(exc)})
            self._postpone(action, str(exc), BROKER_BACKOFF)
        except DatabaseUnavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - it is logged, and kept with the action
            self._failed(action, exc)
        else:
            self._failures.pop(action.id, None)

    def _failed(self, action: BulkAction, exc: Exception) -> None:
        """Try again later, or end the action: it is no outage, so it may never succeed."""
        logger.exception("bulk.portion_failed", extra={"bulk_action": action.id})
        said = hide_password(f"{type(exc).__name__}: {exc}")
        failures = self._failures[action.id] = self._failures.get(action.id, 0) + 1
        if failures < MOST_FAILURES:
            self._postpone(action, said, FAILED_BACKOFF)
            return
        del self._failures[action.id]
        with self._services.store.begin() as connection:
            rows.end(connection, action.id, rows.FAILED, said)

    def _postpone(self, action: BulkAction, why: str, seconds: float) -> None:
        rows.postpone(self._services.store, action.id, self._name, hide_password(why), seconds)

    def failed(self) -> None:
        """The next turn may succeed."""
        logger.exception("bulk.failed")

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("bulk.database_away", extra={"error": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.info("bulk.database_back")


__all__ = ["Runner"]
