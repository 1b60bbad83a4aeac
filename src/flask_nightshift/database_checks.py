"""What ``flask jobs doctor`` looks for in the database, and in the app's own migrations of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask

from flask_nightshift_alembic import CELERYS

from .brokers.base import Finding
from .message import REFUSED_QUEUE
from .runtime import Runtime
from .store import refused
from .store.migration import VERSION_TABLE
from .store.tables import metadata

MAX_FILES = 5_000
"""Migrations of the app that are read, the newest first."""
_OURS = frozenset({*metadata.tables, VERSION_TABLE, *CELERYS})


def examine(runtime: Runtime) -> list[Finding]:
    """What was found; raises ``DatabaseUnavailable`` or ``BrokerUnavailable``."""
    return [*_dropping(runtime.app), *_missing(runtime), *_refused(runtime), *_parked(runtime)]


def _dropping(app: Flask) -> Iterator[Finding]:
    """Migrations of the app that drop our tables: made before Alembic was told to look away, or by hand."""
    for file in _migrations(app):
        if tables := _dropped_by(file):
            yield Finding(
                "error",
                "app migrations",
                f"{file} drops {', '.join(tables)}: whoever applies it deletes the history and the dead letters",
                "Delete these lines from the migration. `flask db migrate` does not write them any more.",
            )


def _missing(runtime: Runtime) -> Iterator[Finding]:
    if lost := runtime.store.missing_tables():
        yield Finding(
            "error",
            "tables",
            f"missing, though all migrations are applied: {', '.join(lost)}",
            "Something dropped them. `flask jobs migrate` makes them anew, empty; what was in them is in your backup.",
        )


def _refused(runtime: Runtime) -> Iterator[Finding]:
    if count := refused.count(runtime.store):
        yield Finding(
            "warning",
            "refused",
            f"the database refused {count} records or dead letters for their content",
            "They are in the table nightshift_refused, with the error and their bytes; the log has store.refused.",
        )


def _parked(runtime: Runtime) -> Iterator[Finding]:
    count = sum(depth.ready for depth in runtime.broker.depths([REFUSED_QUEUE]))
    if count:
        yield Finding(
            "warning",
            "refused",
            f"the database takes {count} dead letters nowhere; they are in the queue {REFUSED_QUEUE!r}",
            "The log has dead_letters.letter_parked with the error. They are too large, probably.",
        )


def _migrations(app: Flask) -> Iterator[Path]:
    """The files of Flask-Migrate's folder, or of the one that it would make."""
    folder = str(getattr(app.extensions.get("migrate"), "directory", None) or "migrations")
    places = {
        Path(base, folder, "versions").resolve() for base in (".", app.root_path, f"{app.root_path}/..")
    }
    found = [file for place in places if place.is_dir() for file in place.glob("*.py")]
    yield from sorted(found, key=_age)[:MAX_FILES]


def _age(file: Path) -> tuple[float, str]:
    return -file.stat().st_mtime, file.name


def _dropped_by(file: Path) -> list[str]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    names = (_table(node) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sorted({name for name in names if name in _OURS})


def _table(call: ast.Call) -> str | None:
    """The table that ``op.drop_table("…")`` drops."""
    function: Any = call.func
    if getattr(function, "attr", getattr(function, "id", None)) != "drop_table":
        return None
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "table_name")]
    first = given[0] if given else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


__all__ = ["examine"]
