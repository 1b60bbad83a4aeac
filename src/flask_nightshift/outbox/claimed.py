"""Rows of unique jobs where the database holds the locks: a job with its lock waits here until the broker has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from ..message.envelope import Envelope
from ..message.headers import DURABLE, history
from ..store import outbox_rows
from . import writing
from .rows import FIRST, numbered, row_of


class ClaimedRows:
    """The outbox, for ``unique.DatabaseLocks``, over the connection of a claim."""

    def write(
        self, connection: Connection, envelopes: Sequence[Envelope], queue: str, due: datetime | None
    ) -> list[Envelope]:
        """Write a row for each of ``envelopes``; returns them as the first publish of their rows."""
        rows = [
            row_of(envelope, task=str(envelope.headers["task"]), queue=queue, due=due)
            for envelope in envelopes
        ]
        if rows:
            writing.write(connection, rows)
        return [numbered(envelope, row.id, FIRST) for envelope, row in zip(envelopes, rows, strict=True)]

    def are_written(self, envelopes: Sequence[Envelope]) -> bool:
        """Whether they name their rows."""
        return all("outbox" in history(envelope.headers) for envelope in envelopes)

    def erase(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        """Delete the rows of ``envelopes``, if there are any; those of durable jobs stay."""
        pasts = [history(envelope.headers) for envelope in envelopes]
        ids = [past.get("outbox") for past in pasts if DURABLE not in past]
        outbox_rows.erase(connection, [row for row in ids if isinstance(row, str)])


__all__ = ["ClaimedRows"]
