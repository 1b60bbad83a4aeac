"""Reads the history database of a story without Nightshift."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


class History:
    """An SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def dead_letter(self) -> dict[str, Any] | None:
        """The row of the only dead letter, if it is archived."""
        rows = self._query("SELECT * FROM nightshift_dead_letters")
        return {name: _readable(name, value) for name, value in rows[0].items()} if rows else None

    def knows(self, job_id: str) -> bool:
        """Whether it is written that the job was enqueued."""
        return bool(self._query("SELECT 1 FROM nightshift_jobs WHERE id = ? AND args IS NOT NULL", job_id))

    def has_ended(self, job_id: str) -> bool:
        """Whether it is written how an attempt of the job ended."""
        ended = "SELECT 1 FROM nightshift_attempts WHERE job_id = ? AND outcome IS NOT NULL"
        succeeded = "SELECT 1 FROM nightshift_jobs WHERE id = ? AND state = 'succeeded'"
        return bool(self._query(ended, job_id) or self._query(succeeded, job_id))

    def _query(self, statement: str, *values: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]


def _readable(column: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return json.loads(value) if column in ("attempts", "headers", "properties") else value
