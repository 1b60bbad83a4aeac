"""Set aside records that the database refused in their own tables, with their bytes, for people to inspect.

``flask jobs doctor`` counts them. A history record is kept as its ``repr``. A dead letter is kept as JSON with its raw
body in base64, so that the whole message survives when it leaves the dead-letter queue.
"""

from __future__ import annotations

import hashlib
import logging

from sqlalchemy import func, select

from ..domain.job import utcnow
from . import Store
from .tables import refused as table
from .upsert import insert

RECORD = "record"
"""The kind of a history record or a row of totals."""
LETTER = "letter"
"""The kind of a dead letter."""
WRITE_SECONDS = 20.0

logger = logging.getLogger("flask_nightshift.store")


def set_aside(store: Store, kind: str, about: str | None, worker: str, why: Exception, data: bytes) -> None:
    """Store ``data`` once, and log that it was refused and why.

    ``about`` is the id of the job or the dead letter. Raises ``DatabaseUnavailable``, or the database's
    error if it refuses this too.
    """
    extra = {"kind": kind, "about": about, "error": str(why)[:2000], "bytes": len(data)}
    values = {
        "id": hashlib.sha256(kind.encode() + data).hexdigest()[:32],
        "kind": kind,
        "about": about,
        "at": utcnow(),
        "worker": worker,
        "error": f"{type(why).__name__}: {why}",
        "data": data,
    }
    with store.begin(timeout=WRITE_SECONDS) as connection:
        connection.execute(insert(connection.dialect.name, table).values(values).on_conflict_do_nothing())
    logger.error("store.refused", extra=extra)


def count(store: Store) -> int:
    """Number of refused records that are not pruned yet; raises ``DatabaseUnavailable``."""
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


__all__ = ["LETTER", "RECORD", "count", "set_aside"]
