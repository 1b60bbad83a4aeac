"""List, replay and discard dead letters.

All functions raise ``DatabaseUnavailable``, except where they say otherwise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from .. import dead_letters
from ..config.queue_names import queue_name
from ..dead_letters import ArchivedLetter, Filters, Result
from ..domain.job import utcnow
from ..domain.recording import OFF
from ..errors import DatabaseUnavailable, DeadLetterNotFound
from ..message import changes
from ..message.burial import DEAD_QUEUE
from ..message.changes import Editable
from ..message.envelope import Envelope
from ..observe import bounded_calls
from ..services import Services
from ..store import heartbeats
from . import changing, ids

LONGEST_BEGINNING = 300
"""Characters of a message that is no job."""
UNARCHIVED_SECONDS = 2.0


def latest(
    services: Services, filters: Filters, limit: int, after: tuple[datetime, str] | None = None
) -> list[ArchivedLetter]:
    """Up to ``limit`` dead letters that meet ``filters``, latest death first.

    ``after``: those that follow the letter with that time of death and that id.
    """
    return dead_letters.list_letters(services.store, filters, limit, after)


def count(services: Services, filters: Filters) -> int:
    """The number of dead letters that meet ``filters``."""
    return dead_letters.count(services.store, filters)


def check(services: Services, filters: Filters) -> None:
    """Raise ``DeadLetterNotFound`` if the filters name a fingerprint that no letter has, whatever its status."""
    if filters.fingerprint is None:
        return
    if not dead_letters.count(services.store, Filters(status=None, fingerprint=filters.fingerprint)):
        raise DeadLetterNotFound(
            f"no dead letter has the fingerprint {filters.fingerprint!r}; 'flask jobs dead incidents' shows them"
        )


def unarchived(services: Services, *, max_age: float = 0.0) -> int | None:
    """The number of dead letters still in the broker, which a running worker archives.

    An answer may be ``max_age`` seconds old. None if the broker does not answer within ``UNARCHIVED_SECONDS``.
    """
    questions = {
        "dead-unarchived": lambda: sum(depth.ready for depth in services.broker.depths([DEAD_QUEUE]))
    }
    (answer,) = (
        bounded_calls.of(services).gather(questions, timeout=UNARCHIVED_SECONDS, max_age=max_age).values()
    )
    found: int | None = answer.value
    return found


def find(services: Services, given: str) -> ArchivedLetter:
    """The dead letter that ``given`` means: its id or its job's, or the start or end of either.

    Raises ``DeadLetterNotFound``.
    """
    return dead_letters.find(services.store, ids.letter_id(services.store, given))


def beginning(services: Services, archived: ArchivedLetter) -> str:
    """The beginning of a message that is no job, without what ``NIGHTSHIFT_REDACT`` hides.

    Names hide values in JSON alone, so of anything else only its type and size are told.
    """
    letter = archived.letter
    try:
        shown = services.redaction.value(json.loads(letter.body))
    except (ValueError, RecursionError):
        kind = letter.content_type or "an unknown type"
        return f"{len(letter.body):,} bytes of {kind}, which are not shown, because they are not JSON"
    return json.dumps(shown, ensure_ascii=False)[:LONGEST_BEGINNING]


def named(services: Services, given: Sequence[str]) -> Filters:
    """Filters for the dead letters that ``given`` means, each as for ``find``; raises ``DeadLetterNotFound``."""
    found = (ids.letter_id(services.store, each) for each in given)
    return Filters(ids=tuple(dict.fromkeys(found)))


def affected(services: Services, filters: Filters, limit: int | None) -> int:
    """The number of dead letters that a replay or discard with ``filters`` and ``limit`` looks at."""
    found = len(filters.ids) if filters.ids else count(services, filters)
    return min(found, limit or found)


def replay(
    services: Services,
    filters: Filters,
    *,
    limit: int | None = None,
    rate: float | None = None,
    dry_run: bool = False,
    force: bool = False,
    queue: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
    progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Run dead jobs again, with the same job ids and fresh attempts; ``dead_letters.replay`` explains the options.

    Raises ``ConfigurationError`` if ``queue`` is no name of a queue, and ``BrokerUnavailable`` too.
    """
    if queue is not None:
        queue_name("queue", queue)
    return dead_letters.replay(
        services.store,
        services.publishing,
        filters,
        limit=limit,
        rate=rate,
        dry_run=dry_run,
        force=force,
        queue=queue,
        locks=services.locks,
        recorded=services.settings.history != OFF,
        sleep=sleep,
        progress=progress,
        stopped=stopped,
    )


def replay_changed(
    services: Services,
    given: str,
    *,
    args: str | None = None,
    kwargs: str | None = None,
    queue: str | None = None,
    force: bool = False,
    unchanged: bool = True,
) -> Result:
    """Replay the one letter that ``given`` means with other arguments: a JSON list, a JSON object.

    ``changing.changed`` explains them. The job keeps its id, callbacks, chain, group and chord. Without ``unchanged``,
    arguments that are the same are refused, for somebody who may change jobs and not replay them. Raises
    ``DeadLetterNotFound``, ``ArgumentsRefused``, ``ConfigurationError`` (no name of a queue), ``DatabaseUnavailable``
    and ``BrokerUnavailable``; the letter waits then, as if nothing had been asked for.
    """
    if queue is not None:
        queue_name("queue", queue)
    archived = find(services, given)
    letter = archived.letter
    before = Envelope(
        letter.body, letter.headers, letter.properties, letter.content_type, letter.content_encoding
    )
    after = changing.changed(services, before, args, kwargs)
    chosen = Filters(ids=(letter.id,))
    if after is before:
        changing.check_unchanged(unchanged)
        return replay(services, chosen, queue=queue, force=force)
    changing.check_once(services, after)
    after = changes.noted_change(after)
    texts = services.texts(letter.task).of(after.headers, after.body)
    new = dead_letters.Changed(replace(letter, body=after.body, headers=after.headers), texts)
    return dead_letters.replay(
        services.store,
        services.publishing,
        chosen,
        queue=queue,
        force=force,
        locks=services.locks,
        changed=new,
        recorded=services.settings.history != OFF,
    )


def editable(services: Services, given: str) -> Editable:
    """The arguments of the letter that ``given`` means, as JSON with ``***`` for what is hidden.

    Raises ``DeadLetterNotFound``, or ``ArgumentsRefused`` if they cannot be changed.
    """
    letter = find(services, given).letter
    return changing.editable(
        services, Envelope(letter.body, letter.headers, content_type=letter.content_type)
    )


def idle_queues(services: Services, result: Result) -> list[str]:
    """The queues of a replay that no healthy worker consumes; empty if the database does not answer."""
    try:
        rows = heartbeats.workers(services.store, utcnow())
    except DatabaseUnavailable:
        return []
    consumed = {queue for row in rows if row.healthy for queue in row.queues}
    return sorted(result.queues - consumed)


def replayed(services: Services, result: Result) -> dict[str, Any]:
    """``result`` in plain JSON types, with the queues that got jobs and those of them that are ``unheard``."""
    unheard = idle_queues(services, result)
    return {**result.as_dict(), "queues": sorted(result.queues), "unheard": unheard}


def discard(
    services: Services, filters: Filters, *, limit: int | None = None, dry_run: bool = False
) -> Result:
    """Discard dead letters that wait: they will not run, and stay in the table until they are pruned."""
    return dead_letters.discard(services.store, filters, limit=limit, dry_run=dry_run)


__all__ = [
    "ArchivedLetter",
    "Filters",
    "Result",
    "affected",
    "beginning",
    "check",
    "count",
    "discard",
    "editable",
    "find",
    "idle_queues",
    "latest",
    "named",
    "replay",
    "replay_changed",
    "replayed",
    "unarchived",
]
