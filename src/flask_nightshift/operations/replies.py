"""Remember the answers to requests that may be repeated.

``begin`` raises ``DatabaseUnavailable``, and then nothing must be done.
"""

from __future__ import annotations

import logging
from datetime import datetime

from ..errors import DatabaseUnavailable
from ..services import Services
from ..store import replies as rows
from ..store.replies import Reply

logger = logging.getLogger("flask_nightshift.http")


def begin(services: Services, token: str, key: str, request: str, now: datetime) -> Reply | None:
    """Note a request of ``token``; returns None if its key is new, else what is known of the first one."""
    return rows.begin(services.store, token, key, request, now)


def keep(services: Services, token: str, key: str, status: int, body: str) -> None:
    """Remember an answer; it was given, so it does not matter if that fails: a repeated request is told."""
    try:
        rows.keep(services.store, token, key, status, body)
    except DatabaseUnavailable as exc:
        logger.warning("http.reply_not_kept", extra={"why": str(exc)})


def forget(services: Services, token: str, key: str) -> None:
    """Forget a request that was not done."""
    try:
        rows.forget(services.store, token, key)
    except DatabaseUnavailable as exc:
        logger.warning("http.reply_not_kept", extra={"why": str(exc)})


__all__ = ["Reply", "begin", "forget", "keep"]
