"""Tokens of the HTTP API: create, list, revoke, and who is behind a token.

All functions raise ``DatabaseUnavailable``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..domain.actor import PERMISSIONS, Actor
from ..domain.job import utcnow
from ..errors import ConfigurationError, DatabaseUnavailable, TokenNotFound
from ..services import Services
from ..store import tokens as rows
from ..store.tokens import Token

LONGEST_NAME = 100
"""Characters of a token's name."""
MOST = 1_000
"""Active tokens."""


@dataclass(frozen=True, slots=True)
class Created:
    """A new token: ``text`` is what a client sends. It is not stored and cannot be shown again."""

    text: str
    token: Token


def create(services: Services, name: str, scopes: Iterable[str], *, expires_at: datetime | None = None,
           by: str) -> Created:  # fmt: skip
    """Make a token whose bearer may do what ``scopes`` (keys of ``PERMISSIONS``) allow, until ``expires_at``.

    No two active tokens have one name. Raises ``ConfigurationError``.
    """
    now = utcnow()
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise ConfigurationError("name", name[:40], f"use 1 to {LONGEST_NAME} printable characters")
    if expires_at is not None and expires_at <= now:
        raise ConfigurationError("expires", expires_at.isoformat(), "name a time that is still to come")
    chosen = _scopes(scopes)
    active = [token for token in rows.listed(services.store) if token.state(now) == "active"]
    if any(token.name == name for token in active):
        raise ConfigurationError("name", name, "a token of that name exists; revoke it, or use another name")
    if len(active) >= MOST:
        raise ConfigurationError("name", name, f"there are {MOST} tokens already; revoke some")
    return Created(*rows.create(services.store, name, chosen, now, expires_at, by))


def listed(services: Services) -> list[Token]:
    """All tokens without their secrets, the latest first; ended ones for 90 days."""
    return rows.listed(services.store)


def revoke(services: Services, given: Sequence[str], *, by: str) -> list[Token]:
    """Revoke the active tokens with these ids or names; returns them. All or none: raises ``TokenNotFound``."""
    now = utcnow()
    active = [token for token in rows.listed(services.store) if token.revoked_at is None]
    chosen: dict[str, Token] = {}
    for each in given:
        found = [token for token in active if each in (token.id, token.name)]
        if not found:
            raise TokenNotFound(
                f"there is no token {each[:80]!r} to revoke; 'flask jobs token list' shows all tokens"
            )
        chosen |= {token.id: token for token in found}
    rows.revoke(services.store, list(chosen), now, by)
    return list(chosen.values())


def bearer(services: Services, text: str) -> tuple[str, Actor] | None:
    """The id of the active token ``text``, and who acts with it; None if there is no such token."""
    now = utcnow()
    token = rows.find(services.store, text, now)
    if token is None:
        return None
    with contextlib.suppress(DatabaseUnavailable):  # somebody else writes for long: the next request notes it
        rows.used(services.store, token, now)
    # a scope that this version does not know allows nothing
    return token.id, Actor(f"token {token.name}", frozenset(token.scopes) & PERMISSIONS.keys())


def _scopes(scopes: Iterable[str]) -> list[str]:
    chosen = set(scopes)
    for unknown in sorted(chosen - PERMISSIONS.keys()):
        raise ConfigurationError("scope", unknown, f"use some of {', '.join(PERMISSIONS)}")
    if not chosen:
        raise ConfigurationError("scope", "", f"use one or more of {', '.join(PERMISSIONS)}")
    return [scope for scope in PERMISSIONS if scope in chosen]


__all__ = ["Created", "Token", "bearer", "create", "listed", "revoke"]
