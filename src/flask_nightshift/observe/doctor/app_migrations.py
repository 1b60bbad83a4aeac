"""Find migrations of the app that would drop our tables."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask

from flask_nightshift_alembic import CELERYS

from ...brokers.values import Finding
from ...services import Services
from ...store.migration import VERSION_TABLE
from ...store.tables import metadata
from ..bounded_calls import Answer
from .check import Seen, asks

MAX_FILES = 5_000
"""Maximum number of migrations to read, the newest first."""
_OURS = frozenset({*metadata.tables, VERSION_TABLE, *CELERYS})


def _dropping(services: Services) -> list[tuple[Path, list[str]]]:
    """The migrations that drop tables of ours: made before Alembic was told to ignore these, or by hand."""
    found = ((file, _dropped_by(file)) for file in _files(services.app))
    return [(file, tables) for file, tables in found if tables]


@asks(_dropping)
def app_migrations(_: Seen, dropping: Answer) -> Iterator[Finding]:
    """Migrations of the app that drop our tables."""
    for file, tables in dropping.value or ():
        yield Finding(
            "error",
            "app migrations",
            f"{file} drops {', '.join(tables)}: whoever applies it deletes the history and the dead letters",
            "Delete these lines from the migration. `flask db migrate` does not write them any more.",
        )


def _files(app: Flask) -> Iterator[Path]:
    """The files in Flask-Migrate's folder, or in its default one."""
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


__all__ = ["app_migrations"]
