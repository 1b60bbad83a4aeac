"""The connection of a caller's session, whose transaction the marker joins."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from ..errors import ConfigurationError
from ..store.sessions import UnusableSession, reach

_NAME = "session of jobs.once()"


def connection_of(session: Any) -> Connection:
    """The connection that ``session`` writes over; it begins a transaction as any statement would.

    Raises ``ConfigurationError``.
    """
    try:
        return reach(session).connection
    except UnusableSession as exc:
        raise ConfigurationError(_NAME, session, str(exc)) from exc


__all__ = ["connection_of"]
