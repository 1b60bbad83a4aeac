"""The test's own database session, while a job runs and after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from sqlalchemy.orm import Session


@contextmanager
def set_apart(app: Flask) -> Iterator[None]:
    """Within the block, ``app``'s session is another one than the test's, as in a worker.

    Flask-SQLAlchemy has one for each app context. A test that replaces ``db.session`` often has one for each thread,
    which the job would remove at its end. After the block, unchanged objects in the test's session are read again when
    they are looked at, because the job may have changed their rows.
    """
    registry = getattr(getattr(app.extensions.get("sqlalchemy"), "session", None), "registry", None)
    mine = None
    try:
        mine = registry() if registry is not None and registry.has() else None
    except RuntimeError:  # it goes by app context, and the test is in none
        registry = None
    if registry is None or mine is None:
        yield
        return
    registry.clear()
    try:
        yield
    finally:
        if registry.has():
            app.extensions["sqlalchemy"].session.remove()
        registry.set(mine)
        _let_reload(mine)


def _let_reload(session: object) -> None:
    if not isinstance(session, Session):
        return
    for each in list(session):
        if each not in session.deleted and not session.is_modified(each):
            session.expire(each)


__all__ = ["set_apart"]
