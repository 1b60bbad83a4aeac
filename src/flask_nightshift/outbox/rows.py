"""A row of the outbox as a value: one finished message, where it goes, and how often it was published."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from ..domain.job import utcnow
from ..enqueue.ids import new_id
from ..message import stored
from ..message.copies import stamp_copy
from ..message.envelope import Envelope
from ..message.headers import HISTORY
from ..store.outbox_rows import PUBLISHED, WAITING
from ..store.types import key_of

FIRST = 1
"""The number of the first publish, by the process that enqueued the job; a relay counts on from there."""


class Row(NamedTuple):
    """A row of the table, with its columns in their order."""

    id: str
    job_id: str
    task: str
    queue: str
    format: int
    message: bytes
    due_at: datetime | None
    created_at: datetime
    copy: int = FIRST
    claimed_by: str | None = None
    claimed_at: datetime | None = None
    durable: int = 0
    run: int = 0
    state: str = WAITING

    def envelope(self) -> Envelope:
        """The message of this copy, to publish.

        Raises ``stored.UnknownFormat`` if a newer version wrote it, or another ``ValueError`` if it is damaged.
        """
        envelope = numbered(stored.from_bytes(self.message, self.format), self.id, self.copy)
        return _of_run(envelope, self.run) if self.run else envelope


def row_of(
    envelope: Envelope,
    *,
    task: str,
    queue: str,
    due: datetime | None,
    row_id: str | None = None,
    durable: bool = False,
) -> Row:
    """The new row for a job's message; raises ``TypeError`` or ``ValueError`` if the message cannot be stored."""
    return Row(
        row_id or new_id(),
        key_of(str(envelope.headers["id"])),
        key_of(task),
        key_of(queue),
        stored.FORMAT,
        stored.to_bytes(envelope),
        due,
        utcnow(),
        durable=int(durable),
    )


def numbered(envelope: Envelope, row_id: str, copy: int) -> Envelope:
    """The message as publish number ``copy`` of the row ``row_id``, which its ``nightshift`` header then says."""
    return replace(envelope, headers=stamp_copy(envelope.headers, row_id, copy))


def _of_run(envelope: Envelope, run: int) -> Envelope:
    """The message of a durable job that is published again as a new run, whose wait counts from now."""
    past = {**envelope.headers[HISTORY], "run": run, "due": utcnow().isoformat()}
    return replace(envelope, headers={**envelope.headers, HISTORY: past})


__all__ = ["FIRST", "PUBLISHED", "WAITING", "Row", "numbered", "row_of"]
