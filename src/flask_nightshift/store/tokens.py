"""Tokens of the HTTP API: a row has a token's digest, never the token.

A token is ``nst_<id>_<secret>``. The secret has 256 random bits, so a plain digest protects it. The id is the primary
key of its row.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, delete, or_, select, update

from .store import Store
from .tables import tokens as table

FORMAT = re.compile(r"nst_([0-9a-f]{12})_([0-9a-f]{64})", re.ASCII)
KEEP_ENDED = timedelta(days=90)
"""How long a token that was revoked or has expired is still listed."""
USED_EVERY = timedelta(minutes=1)
"""The precision of ``used_at``, so that few requests write."""
WRITE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. ``scopes`` are permissions; ``used_at`` is exact to a minute."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None

    def state(self, now: datetime) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def as_dict(self, now: datetime) -> dict[str, Any]:
        """The token in plain JSON types."""
        times = {name: getattr(self, name) for name in ("created_at", "expires_at", "used_at", "revoked_at")}
        return {
            "id": self.id,
            "name": self.name,
            "scopes": list(self.scopes),
            "state": self.state(now),
            "created_by": self.created_by,
            "revoked_by": self.revoked_by,
            **{name: moment.isoformat() if moment else None for name, moment in times.items()},
        }


def create(store: Store, name: str, scopes: Iterable[str], now: datetime, expires_at: datetime | None,
           by: str) -> tuple[str, Token]:  # fmt: skip
    """Store a new token; returns it as text, which cannot be had again, and its row. Deletes old ended ones."""
    token_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    made = Token(token_id, name, tuple(scopes), now, by, expires_at)
    old = now - KEEP_ENDED
    with store.begin() as connection:
        connection.execute(delete(table).where(or_(table.c.revoked_at < old, table.c.expires_at < old)))
        connection.execute(table.insert().values(**_values(made), digest=_digest(secret)))
    return f"nst_{token_id}_{secret}", made


def listed(store: Store) -> list[Token]:
    """All tokens, the latest first."""
    with store.read() as connection:
        query = select(table).order_by(table.c.created_at.desc(), table.c.id)
        return [_token(row) for row in connection.execute(query)]


def find(store: Store, text: str, now: datetime) -> Token | None:
    """The active token that ``text`` is; None if there is none."""
    given = FORMAT.fullmatch(text)
    if given is None:
        return None
    query: Select[Any] = select(table).where(table.c.id == given[1])
    with store.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None or not hmac.compare_digest(str(row.digest), _digest(given[2])):
        return None
    found = _token(row)
    return found if found.state(now) == "active" else None


def used(store: Store, token: Token, now: datetime) -> None:
    """Note that the token was used, at most once a minute; raises ``DatabaseUnavailable``."""
    if token.used_at is not None and now - token.used_at < USED_EVERY:
        return
    with store.begin(timeout=WRITE_SECONDS) as connection:
        connection.execute(update(table).where(table.c.id == token.id).values(used_at=now))


def revoke(store: Store, ids: Sequence[str], now: datetime, by: str) -> int:
    """Revoke these tokens; returns how many were active until now or had expired."""
    which = (table.c.id.in_(ids), table.c.revoked_at.is_(None))
    with store.begin() as connection:
        return connection.execute(update(table).where(*which).values(revoked_at=now, revoked_by=by)).rowcount


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _values(token: Token) -> dict[str, Any]:
    return {name: getattr(token, name) for name in Token.__slots__} | {"scopes": list(token.scopes)}


def _token(row: Row[Any]) -> Token:
    values = {name: getattr(row, name) for name in Token.__slots__}
    return Token(**(values | {"scopes": tuple(row.scopes)}))


__all__ = ["FORMAT", "Token", "create", "find", "listed", "revoke", "used"]
