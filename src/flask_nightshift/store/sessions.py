"""A session or connection of the caller's, and the connection that it leads to."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import MissingGreenlet, UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session

from .drivers import commits_each_statement

ALLOWED = "give a SQLAlchemy Session, scoped_session or Connection"


class UnusableSession(Exception):
    """The session cannot be used; the text says what is allowed. A caller makes its own error of it."""


class Reached(NamedTuple):
    """A connection in a transaction of the caller's, and the session through which it was reached, or None."""

    connection: Connection
    session: Session | None


def reach(given: Any) -> Reached:
    """The connection of ``given``, which begins a transaction as any statement of the caller would.

    Raises ``UnusableSession`` for anything else than a session or a connection, for a session without a default bind,
    for an asynchronous one that is not being awaited, and for a connection in AUTOCOMMIT.
    """
    found = _unwrapped(given)
    if not isinstance(found, (Connection, Session)):
        raise UnusableSession(ALLOWED)
    try:
        reached = _reached(found)
    except MissingGreenlet as exc:
        raise UnusableSession(
            "an asynchronous session can write only while it is awaited: await session.run_sync(lambda session: …), "
            "and give that session"
        ) from exc
    except UnboundExecutionError as exc:
        raise UnusableSession(
            'it has no default bind, so give session.connection(bind_arguments={"mapper": Model}) of one'
        ) from exc
    if commits_each_statement(reached.connection):
        raise UnusableSession(
            "its connection is in AUTOCOMMIT, so it has no transaction: use an engine or a connection with another "
            "isolation level"
        )
    return reached


def _reached(found: Connection | Session) -> Reached:
    if isinstance(found, Session):
        return Reached(found.connection(), found)
    if not found.in_transaction():
        found.begin()
    return Reached(found, None)


def _unwrapped(given: Any) -> Any:
    """The session in a registry, and the synchronous half of what SQLAlchemy's ``asyncio`` made."""
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if isinstance(given, scoped_session) or (asyncio and isinstance(given, asyncio.async_scoped_session)):
        given = given()
    if asyncio and isinstance(given, asyncio.AsyncSession):
        return given.sync_session
    if asyncio and isinstance(given, asyncio.AsyncConnection):
        return given.sync_connection
    return given


__all__ = ["ALLOWED", "Reached", "UnusableSession", "reach"]
