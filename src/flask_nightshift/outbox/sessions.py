"""The session whose transaction a job joins: the caller's, or Flask-SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session, scoped_session

from ..options.publish import InvalidOption
from ..store import sessions
from ..store.sessions import ALLOWED, Reached, UnusableSession

_EXTENSION = "sqlalchemy"
"""The key of Flask-SQLAlchemy, and of Flask-SQLAlchemy-Lite, in ``app.extensions``."""


def reach(extensions: Mapping[str, Any], given: Any) -> Reached:
    """The connection of ``given``, which begins a transaction as any statement of the caller would.

    None means the session of Flask-SQLAlchemy, which is among the ``extensions`` of an app. Raises ``InvalidOption``
    for a session that cannot be used.
    """
    try:
        return sessions.reach(default(extensions) if given is None else given)
    except UnusableSession as exc:
        raise InvalidOption("session", given, str(exc)) from exc


def default(extensions: Mapping[str, Any]) -> Any:
    """Flask-SQLAlchemy's session among ``extensions`` of an app; raises ``InvalidOption`` if the app has none."""
    session = getattr(extensions.get(_EXTENSION), "session", None)
    if session is None:
        raise InvalidOption("session", None, f"this app does not use Flask-SQLAlchemy, so {ALLOWED}")
    return session


def is_open(extensions: Mapping[str, Any]) -> bool:
    """Whether Flask-SQLAlchemy's session is in a transaction, in this app context; it makes no session."""
    session = getattr(extensions.get(_EXTENSION), "session", None)
    if isinstance(session, scoped_session):
        session = session() if session.registry.has() else None
    return isinstance(session, Session) and session.in_transaction()


__all__ = ["default", "is_open", "reach"]
