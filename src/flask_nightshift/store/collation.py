"""Texts compared by their bytes, in every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection


def in_bytes(column: Any, connection: Connection) -> Any:
    """``column`` compared by its bytes, as SQLite and Python compare and as our indexes are sorted."""
    return column.collate("C") if connection.dialect.name == "postgresql" else column


__all__ = ["in_bytes"]
