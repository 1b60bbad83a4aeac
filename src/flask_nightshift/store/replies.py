"""Answers of the HTTP API that are remembered by the key of their request (``Idempotency-Key``)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update

from . import upsert
from .store import Store
from .tables import replies as table

KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the request with the digest ``request``; without a ``status`` there is none yet."""

    request: str
    at: datetime
    status: int | None
    body: str | None


def begin(store: Store, token: str, key: str, request: str, now: datetime) -> Reply | None:
    """Note a request; returns None if its key is new, else what is known. Deletes what is older than a day."""
    row: dict[str, Any] = {"token": token, "key": key, "request": request, "at": now}
    mine = (table.c.token == token, table.c.key == key)
    with store.begin() as connection:
        connection.execute(delete(table).where(table.c.at < now - KEPT))
        statement = upsert.insert(connection.dialect.name, table).values(row)
        if connection.execute(statement.on_conflict_do_nothing().returning(table.c.key)).first() is not None:
            return None
        found = connection.execute(select(table).where(*mine)).one_or_none()
    return None if found is None else Reply(found.request, found.at, found.status, found.body)


def keep(store: Store, token: str, key: str, status: int, body: str) -> None:
    """Remember an answer."""
    mine = (table.c.token == token, table.c.key == key)
    with store.begin() as connection:
        connection.execute(update(table).where(*mine).values(status=status, body=body))


def forget(store: Store, token: str, key: str) -> None:
    """Forget a request that was not done."""
    with store.begin() as connection:
        connection.execute(delete(table).where(table.c.token == token, table.c.key == key))


__all__ = ["KEPT", "Reply", "begin", "forget", "keep"]
